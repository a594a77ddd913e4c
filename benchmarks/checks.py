"""What do the checks of a run's files cost?

    python benchmarks/checks.py [--quick]

The tutorial's dA, 784-500 with 30 % of the pixels masked and minibatches of 20, is trained for
15 epochs in a run directory, with checkpoints every second: in turns as the command does it, and
without the checksums of checkpoints and metrics and without waiting for the disk.
"""

import os
import shutil
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

UNITS, LEVEL, BATCH, RATE, EPOCHS = 500, 0.3, 20, 0.1, 15
MOST = 1.02


@dataclass(frozen=True)
class Settings(turns.Settings):
    """Measure a training with and without the checks of its files."""

    prog: ClassVar[str] = "python benchmarks/checks.py"


def prepare(folder: Path, how: Row) -> None:
    """Write the images."""
    from dae_jax import datasets

    dataset = datasets.load_default()
    images = dataset.train.images[: 2_000 if how["quick"] else None]
    np.save(folder / "images.npy", images)
    turns.write_facts(folder, dataset.name, len(images))


def checked(folder: Path, **_: Any) -> Epoch:
    """A stage in a folder, as ``python -m dae_jax.train`` trains it."""
    console.set_up_jax("float32", 1)
    import jax

    from dae_jax import autoencoder, training
    from dae_jax.runs import stage
    from dae_jax.settings.shared import Denoising

    images, run = np.load(folder / "images.npy"), folder / f"run_{os.getpid()}"
    sgd = training.optimiser("sgd", RATE)
    cost = stage.denoising_cost(Denoising(LEVEL, "masking", "cross-entropy", "sigmoid"), 255.0)
    how = stage.Stage(sgd, EPOCHS, BATCH, place=stage.Place("", run, quiet=True))

    def fit() -> float:
        shutil.rmtree(run, ignore_errors=True)
        params = autoencoder.init(jax.random.key(0), images.shape[1], UNITS)
        state = training.start_state(params, sgd)
        trained = stage.train(how, cost, state, images, jax.random.key(1))
        assert trained is not None
        return trained.rows[-1]["cost"]

    return fit


def unchecked(folder: Path, **how: Any) -> Epoch:
    """The same without checksums, and without waiting until files are on the disk."""
    from dae_jax import files
    from dae_jax.runs import checkpoints

    setattr(checkpoints, "digest", lambda _: "")  # noqa: B010  # pyright knows them as constants
    setattr(checkpoints.records, "signed", dict)  # noqa: B010
    setattr(checkpoints.Metrics, "sync", lambda _: None)  # noqa: B010
    setattr(files.os, "fsync", lambda _: None)  # noqa: B010
    return checked(folder, **how)


def main(argv: Sequence[str]) -> None:
    """Measure and print one table."""
    contestants = {"without checks": "unchecked", "with checks": "checked"}
    bound = "with / without checks", MOST
    turns.two(shared.parse(Settings, argv), contestants, 5, EPOCHS, "checks", bound)


if __name__ == "__main__":
    sys.exit(turns.start(main, prepare, [unchecked, checked]))
