"""Write the pictures and numbers of the filters that emerge on the page of the dA.

    python docs/filters_emerging.py docs/_static/filters

The four models are those of ``python -m dae_jax.train --corruption 0 0.1 0.3 0.5``: the same first
weights and the same noise. Their filters are drawn after some epochs, as ``--animate`` draws them.
"""

import io
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from dae_jax import autoencoder, datasets, evaluation, figures, training
from dae_jax.files import write_whole

SEED, LEVELS, EPOCHS = 123, (0.0, 0.1, 0.3, 0.5), (0, 1, 2, 3, 5, 8, 15)
SHAPE, GAP = (28, 28), 9
QUALITY = 10  # of WebP; noise without loss is five times as large, and looks the same


def train() -> tuple[list[list[np.ndarray]], dict[str, Any]]:
    """The weights of each epoch and level, and what the page says of them."""
    images = datasets.load("mnist").train.images
    first = autoencoder.init_tutorial(SEED, n_visible=784, n_hidden=500)
    optimizer = training.optimiser("sgd", 0.1)
    costs = [training.bind(autoencoder.denoising_cost, level=p, pixel_scale=255.0) for p in LEVELS]
    weights = [[np.asarray(first.W)] * len(LEVELS)]
    numbers: list[list[float | None]] = [[None] * len(LEVELS)]
    for report in training.fit(
        *training.sweep(costs, [first] * len(LEVELS), optimizer),
        images,
        jnp.stack([jax.random.key(SEED)] * len(LEVELS)),
        optimizer=optimizer,
        epochs=max(EPOCHS),
        batch_size=20,
    ):
        print(f"epoch {report.epoch}: costs {np.round(report.cost, 2)}", flush=True)
        if report.epoch in EPOCHS:
            weights.append(list(np.asarray(report.state.params.W)))
            numbers.append([round(float(cost), 4) for cost in report.cost])
    local = [[(evaluation.locality(W, SHAPE) > 0.5).mean() for W in each] for each in weights]
    return weights, {
        "epochs": EPOCHS,
        "levels": LEVELS,
        "cost": numbers,  # one row per epoch, one column per level
        "local": np.round(local, 4).tolist(),
    }


def write(folder: Path, weights: list[list[np.ndarray]], numbers: dict[str, Any]) -> None:
    """Write an image per level, its sheets below each other, a contact sheet, and the numbers."""
    for i, level in enumerate(LEVELS):
        sheets = [figures.filter_sheet(each[i], SHAPE) for each in weights]
        _save(folder / f"sheets_{100 * level:.0f}.webp", np.concatenate(sheets))
    cells = np.stack([[figures.filter_sheet(W, SHAPE, (4, 4)) for W in each] for each in weights])
    framed = np.pad(cells.swapaxes(0, 1), [(0, 0), (0, 0), (0, GAP), (0, GAP)])
    contact = framed.swapaxes(1, 2).reshape(len(LEVELS) * framed.shape[2], -1)
    _save(folder / "contact.webp", contact[:-GAP, :-GAP])
    print(write_whole(folder / "numbers.json", (json.dumps(numbers) + "\n").encode()))


def _save(path: Path, sheet: np.ndarray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "webp", quality=QUALITY, method=6)
    print(write_whole(path, buffer.getvalue()), f"{buffer.tell():,} bytes")


if __name__ == "__main__":
    write(Path(sys.argv[1]), *train())
