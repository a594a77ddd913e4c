"""What does training in blocks cost, beside the same images in memory?

    python benchmarks/blocks.py [--quick]

A million images, MNIST's twenty times over, in an .npy file of 784 MB: the tutorial's dA, 784-500
with 30 % of the pixels masked and minibatches of 20, in a new order every epoch. In memory all are
on the device at once; in blocks they stay in the file, and 128 MiB are read at a time while the
block before is trained on. Peaks of resident memory are those of the whole process.
"""

import resource
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import turns
from turns import Epoch, Row

from dae_jax import console
from dae_jax.settings import shared

UNITS, LEVEL, BATCH, RATE, TIMES = 500, 0.3, 20, 0.1, 20
MOST = 1 / 0.9


@dataclass(frozen=True)
class Settings(turns.Settings):
    """Measure training in blocks against training in memory."""

    prog: ClassVar[str] = "python benchmarks/blocks.py"


def prepare(folder: Path, how: Row) -> None:
    """Write the images."""
    from dae_jax import datasets, rows

    dataset = datasets.load_default()
    images = rows.in_memory(dataset.train.images)
    n, times = len(images), 2 if how["quick"] else TIMES
    path = folder / "images.npy"
    out = np.lib.format.open_memmap(path, "w+", np.uint8, (times * n, images.shape[1]))
    for i in range(times):
        out[i * n : (i + 1) * n] = images
    out.flush()
    turns.write_facts(folder, dataset.name, times * n)


def in_memory(folder: Path, **_: Any) -> Epoch:
    """All images on the device."""
    return _training(folder, np.load(folder / "images.npy"), None)


def in_blocks(folder: Path, **_: Any) -> Epoch:
    """The images in their file."""
    from dae_jax.datasets.arrays import read_npy
    from dae_jax.runs.run import BLOCK

    images = read_npy(folder / "images.npy", leave=0)
    return _training(folder, images, min(BLOCK // images.shape[1], len(images) // 2))


def _training(folder: Path, images: Any, block_size: int | None) -> Epoch:
    """One epoch after another; the peak of memory goes to a file."""
    console.set_up_jax("float32", 1)
    how = {"epochs": 1_000, "batch_size": BATCH, "block_size": block_size}
    reports = trained(images, UNITS, **how)

    def epoch() -> float:
        report = next(report for report in reports if report.part is None)
        (folder / f"peak_{block_size or 0}").write_text(str(peak()))
        return float(report.cost)

    return epoch


def trained(images: Any, units: int, **how: Any) -> Iterator[Any]:
    """The reports of the tutorial's dA on shuffled images.

    Args:
        images: (n, d), in memory or not.
        units: Hidden units.
        **how: Epochs, batch and the like, as `training.fit` takes them.
    """
    import jax

    from dae_jax import autoencoder, training
    from dae_jax.runs import stage
    from dae_jax.settings.shared import Denoising

    sgd = training.optimiser("sgd", RATE)
    cost = stage.denoising_cost(Denoising(LEVEL, "masking", "cross-entropy", "sigmoid"), 255.0)
    params = autoencoder.init(jax.random.key(0), images.shape[1], units)
    state = training.start_state(params, sgd)
    return training.fit(cost, state, images, jax.random.key(1), optimizer=sgd, shuffle=True, **how)


def peak() -> int:
    """The peak of resident memory of this process, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(argv: Sequence[str]) -> None:
    """Measure and print one table."""
    settings = shared.parse(Settings, argv)
    contestants = {"in memory": "in_memory", "in blocks": "in_blocks"}
    with turns.prepared(settings) as (folder, report):
        entries = {name: {"contestant": one} for name, one in contestants.items()}
        measured = turns.measure(folder, 2 if settings.quick else 3, entries)
        turns.check_learning(measured)
        target = "in blocks / in memory", turns.ratio(measured["in blocks"], measured["in memory"])
        report.numbers["blocks"] = measured
        report.say(f"one epoch of {report.machine['images']:,} images")
        report.say(turns.in_words(measured, [] if settings.quick else [(*target, "<=", MOST)]))
        peaks = {
            "in memory" if path.name == "peak_0" else "in blocks": int(path.read_text())
            for path in sorted(folder.glob("peak_*"))
        }
        report.numbers["peaks"] = peaks
        lines = [[name, f"{peak / 1e9:.2f} GB"] for name, peak in peaks.items()]
        report.say(turns.markdown(["", "peak of resident memory"], lines))


if __name__ == "__main__":
    sys.exit(turns.start(main, prepare, [in_memory, in_blocks]))
