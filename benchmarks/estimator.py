"""What does scikit-learn's interface cost?

    python benchmarks/estimator.py [--quick]

The tutorial's dA, 784-500 with 30 % of the pixels masked and minibatches of 20, is trained for
three epochs in turns by `training.fit` and by `estimators.DenoisingAutoencoder.fit`, which also
checks the rows, copies the parameters to NumPy and keeps the costs. Rows are floats, in the order
of the file.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import turns
from turns import Epoch, Row

from dae_jax import console
from dae_jax.settings import shared

UNITS, LEVEL, BATCH, RATE, EPOCHS = 500, 0.3, 20, 0.1, 3
MOST = 1.05


@dataclass(frozen=True)
class Settings(turns.Settings):
    """Measure the estimator against the loop that it is made of."""

    prog: ClassVar[str] = "python benchmarks/estimator.py"


def prepare(folder: Path, how: Row) -> None:
    """Write the images as floats in [0, 1]."""
    from dae_jax import datasets

    dataset = datasets.load_default()
    images = dataset.train.images[: 2_000 if how["quick"] else None]
    np.save(folder / "images.npy", images.astype(np.float32) / np.float32(255))
    turns.write_facts(folder, dataset.name, len(images))


def loop(folder: Path, **_: Any) -> Epoch:
    """`training.fit` of `autoencoder.denoising_cost`."""
    console.set_up_jax("float32", 1)
    import jax

    from dae_jax import autoencoder, training

    X = np.load(folder / "images.npy")
    sgd = training.optimiser("sgd", RATE)
    cost = training.bind(autoencoder.denoising_cost, level=LEVEL, pixel_scale=1)

    def fit() -> float:
        params = autoencoder.init(jax.random.key(0), X.shape[1], UNITS)
        state = training.start_state(params, sgd)
        how: dict[str, Any] = dict(optimizer=sgd, epochs=EPOCHS, batch_size=BATCH)
        *_, last = training.fit(cost, state, X, jax.random.key(1), **how)
        jax.device_get(last.state)
        return float(last.cost)

    return fit


def estimator(folder: Path, **_: Any) -> Epoch:
    """`DenoisingAutoencoder.fit`."""
    console.set_up_jax("float32", 1)
    from dae_jax.estimators import DenoisingAutoencoder

    X = np.load(folder / "images.npy")
    how: dict[str, Any] = dict(solver="sgd", learning_rate_init=RATE, shuffle=False, random_state=0)

    def fit() -> float:
        model = DenoisingAutoencoder(
            UNITS, corruption=LEVEL, batch_size=BATCH, max_iter=EPOCHS, **how
        )
        return model.fit(X).loss_curve_[-1]

    return fit


def main(argv: Sequence[str]) -> None:
    """Measure and print one table."""
    contestants = {"training.fit": "loop", "DenoisingAutoencoder.fit": "estimator"}
    bound = "estimator / training.fit", MOST
    turns.two(shared.parse(Settings, argv), contestants, 9, EPOCHS, "fit", bound)


if __name__ == "__main__":
    sys.exit(turns.start(main, prepare, [loop, estimator]))
