"""Write the plane of a 2-d autoencoder, and that of PCA, for the map on their page.

    python docs/latent_map.py docs/_static/map

The models are those of ``python -m dae_jax.reproduce deep-2d``: the published setting, with the
first of its seeds. The decoder's weights have 8 bits each, see `rounded`.
"""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image
from safetensors.numpy import save

from dae_jax import datasets, deep, figures
from dae_jax.experiments.catalogue import EXPERIMENTS
from dae_jax.experiments.data import Part, prepare
from dae_jax.experiments.models import Fitted, Setup
from dae_jax.files import write_whole
from dae_jax.stacked import Layer

EXPERIMENT = EXPERIMENTS["deep-2d"]
SHOWN, COLUMNS = 1_000, 40  # the first test digits, and how many are side by side in their picture
GRID = 12  # rows and columns of the picture that stands for the map where there is no JavaScript
STEPS = 127  # of a weight, to either side of 0
QUALITY = 20  # of WebP


class Models(NamedTuple):
    """PCA and the deep autoencoder, and the digits that the map shows."""

    pca: Fitted
    net: Fitted
    digits: Part


def train() -> Models:
    """Train the models of the experiment with its first seed."""
    setup = Setup(prepare(datasets.load("mnist"), EXPERIMENT.images), seeds=EXPERIMENT.seeds[:1])
    ((pca,), (net,)) = (EXPERIMENT.models[name].train(setup, name) for name in ("pca", "deep"))
    return Models(pca, net, Part(*(part[:SHOWN] for part in setup.data.test)))


def window(codes: np.ndarray) -> np.ndarray:
    """A square part of a plane with nearly all codes: left, bottom, right, top."""
    low, high = np.quantile(codes, [0.01, 0.99], axis=0)
    middle, half = (low + high) / 2, 0.53 * (high - low).max()
    return np.concatenate([middle - half, middle + half]).astype(np.float32)


def grid(of: np.ndarray, n: int) -> np.ndarray:
    """Codes on n x n places of a window, row by row from the top left, (n * n, 2)."""
    left, bottom, right, top = of
    across, up = np.meshgrid(np.linspace(left, right, n), np.linspace(top, bottom, n))
    return np.stack([across.ravel(), up.ravel()], axis=1).astype(np.float32)


def rounded(W: np.ndarray, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Weights of 8 bits, :math:`W_{ij} \approx s_j q_{ij}`, that suit the inputs of their layer.

    Rounded one by one, the weights make pixels wrong by up to .08. Here each row makes up for the
    errors of the rows before it, by least squares over the inputs (GPTQ, Frantar et al. 2023): the
    codes are a plane, the inputs vary little, and hardly any error is left.

    Args:
        W: (n_in, n_out).
        inputs: (n, n_in).

    Returns:
        q, int8, and s, float32, (n_out,).
    """
    H = inputs.T.astype(np.float64) @ inputs / len(inputs)
    H += 1e-3 * np.trace(H) / len(H) * np.eye(len(H))
    order = np.argsort(-np.diag(H))
    U = np.linalg.cholesky(np.linalg.inv(H[np.ix_(order, order)])).T
    left, q = W[order].astype(np.float64), np.zeros(W.shape, np.int8)
    scale = np.abs(W).max(axis=0) / STEPS
    for i, row in enumerate(order):
        q[row] = np.clip(np.rint(left[i] / scale), -STEPS, STEPS)
        left[i:] -= np.outer(U[i, i:], (left[i] - scale * q[row]) / U[i, i])
    return q, scale.astype(np.float32)


def smaller(
    net: Fitted, codes: np.ndarray
) -> tuple[dict[str, np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """The tensors of the decoder with 8 bits a weight, and the decoder with these weights.

    Args:
        net: The autoencoder.
        codes: Codes all over its plane.
    """
    architecture = EXPERIMENT.models["deep"].architecture  # type: ignore[attr-defined]
    (W, b), *others = jax.tree.map(np.asarray, net.params.decoder)
    tensors, layers = {"decoder.0.W": W, "decoder.0.b": b}, [Layer(W, b)]
    h = codes
    for k, layer in enumerate(others, 1):
        h = np.asarray(jax.nn.elu(h @ layers[-1].W + layers[-1].b))
        q, scale = rounded(layer.W, h)
        tensors |= {f"decoder.{k}.W": q, f"decoder.{k}.scale": scale, f"decoder.{k}.b": layer.b}
        layers.append(Layer(scale * q, layer.b))
    params = deep.Untied(net.params.encoder, tuple(layers))
    return tensors, lambda codes: np.asarray(deep.decode(params, codes, architecture))


def write(folder: Path, models: Models) -> None:
    """Write the decoders, codes and their card, the digits, and the picture of both planes."""
    pca, net, digits = models
    codes = {
        name: np.asarray(fitted.encode(digits.x), np.float32)
        for name, fitted in models._asdict().items()
        if name != "digits"
    }
    windows = {name: window(each) for name, each in codes.items()}
    fine = np.concatenate([grid(windows["net"], 48), codes["net"]])
    tensors, decode = smaller(net, fine)
    between = grid(windows["net"], 31)
    error = np.abs(decode(between) - net.decode(between)).max()
    mean = pca.decode(np.zeros((1, 2)))[0]
    tensors |= {"pca.mean": np.float32(mean), "pca.components": np.float32(pca.params)}
    for name in codes:
        tensors |= {f"{name}.codes": codes[name], f"{name}.window": windows[name]}
    tensors["labels"] = digits.labels.astype(np.uint8)
    card = {
        "model": EXPERIMENT.what,
        "trained": f"as by python -m dae_jax.reproduce deep-2d, seed {EXPERIMENT.seeds[0]}",
        "declaration": repr(EXPERIMENT.models["deep"]),
        "data": "all 60,000 training images of MNIST; the digits shown are its first test images",
        "error per pixel, held out": round(net.valid[-1] / digits.x.shape[1], 5),
        "bits of a weight": 8,
        "largest error of a pixel by these bits": round(float(error), 5),
        "written by": "python docs/latent_map.py docs/_static/map",
    }
    # safetensors writes memory as it lies, also that of transposed arrays
    tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    content = save(tensors, {"dae_jax": json.dumps(card)})
    print(write_whole(folder / "map.safetensors", content), f"{len(content):,} bytes", card)
    sheet = figures.tile(
        digits.x, (28, 28), (SHOWN // COLUMNS, COLUMNS), scale_rows_to_unit_interval=False
    )
    _save(folder / "digits.webp", sheet)
    planes = [each.decode(grid(windows[name], GRID)) for name, each in (("net", net), ("pca", pca))]
    sheets = [
        figures.tile(z.clip(0, 1), (28, 28), (GRID, GRID), scale_rows_to_unit_interval=False)
        for z in planes
    ]
    gap = np.zeros((len(sheets[0]), 28), np.uint8)
    _save(folder / "contact.webp", np.concatenate([sheets[0], gap, sheets[1]], axis=1))


def _save(path: Path, sheet: Any) -> None:
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "webp", quality=QUALITY, method=6)
    print(write_whole(path, buffer.getvalue()), f"{buffer.tell():,} bytes")


if __name__ == "__main__":
    write(Path(sys.argv[1]), train())
