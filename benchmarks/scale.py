"""How does the cost of training grow, with images, hidden units, the batch and devices?

    python benchmarks/scale.py [--quick]

One epoch of the tutorial's dA (784-500, 30 % of the pixels masked, minibatches of 20) for one size
of each at a time. Images are MNIST's, repeated, in an .npy file; those of more than 1 GiB are
trained on in blocks. A model on paper predicts the seconds of a step of one device:

    t = t_0 + 10 b d h / F + (4 b d + 24 d h) / B

The 10 b d h are the operations of its five products of b images, d pixels and h units: the encoder,
the decoder, and three for the gradient. The bytes are those of the noise and of the weights, which
are read for each product and for the update, and written. t_0, F and B are fitted to three runs
(the smallest, the widest and the largest batch), and predict the others.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import blocks
import numpy as np
import turns

from dae_jax import console
from dae_jax.settings import shared

PIXELS = 784
USUAL = {"images": 50_000, "hidden": 500, "batch": 20, "devices": 1}
AXES: dict[str, list[int]] = {
    "images": [10_000, 100_000, 1_000_000, 10_000_000],
    "hidden": [125, 250, 500, 1_000, 2_000],
    "batch": [5, 10, 20, 50, 100, 200],
    "devices": [1, 2],
}
WITHIN, LARGEST = 0.3, 1.5e9


@dataclass(frozen=True)
class Settings(turns.Settings):
    """Measure how the cost of training grows."""

    prog: ClassVar[str] = "python benchmarks/scale.py"


def measure(size: dict[str, int], folder: Path) -> dict[str, Any]:
    """Train for an untimed epoch of few images, which compiles, and a timed one of all."""
    console.set_up_jax("float32", 1, size["devices"])
    from dae_jax.datasets.arrays import read_npy
    from dae_jax.datasets.loading import LARGE
    from dae_jax.runs.run import BLOCK

    images = read_npy(folder / f"{size['images']}.npy", leave=LARGE)
    block = BLOCK // PIXELS if images.nbytes > LARGE else None
    reports = blocks.trained(
        images,
        size["hidden"],
        epochs=4 if len(images) <= 100_000 else 2,
        batch_size=size["batch"],
        block_size=block,
        devices=None if size["devices"] == 1 else size["devices"],
    )
    if block is None:
        next(reports)  # compiles
        best = min(report.seconds for report in reports)
        steps = size["images"] // size["batch"]
    else:
        next(reports)  # compiles; a block
        began = time.perf_counter()
        next(report for report in reports if report.part is None)
        best = time.perf_counter() - began
        steps = (size["images"] - block) // size["batch"]
    return size | {"seconds": best, "steps": steps, "peak": blocks.peak()}


def write(folder: Path, n: int) -> None:
    """Write so many images, MNIST's in turn."""
    from dae_jax import datasets, rows

    images = rows.in_memory(datasets.load_default().train.images)
    path = folder / f"{n}.npy"
    with open(path, "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (n, PIXELS)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, n, len(images)):
            images[: min(len(images), n - start)].tofile(file)


def _work(argv: Sequence[str]) -> None:
    size, folder = json.loads(argv[1]), Path(argv[2])
    if argv[0] == "--write":
        write(folder, size["images"])
    else:
        print(json.dumps(measure(size, folder)))


def _called(word: str, size: dict[str, int], folder: Path) -> str:
    words = [sys.executable, __file__, word, json.dumps(size), str(folder)]
    return subprocess.run(words, check=True, text=True, stdout=subprocess.PIPE).stdout


def _terms(row: dict[str, Any]) -> list[float]:
    """The factors of t_0, 1 / F and 1 / B in the seconds of a step."""
    b, h = row["batch"], row["hidden"]
    return [1.0, 10.0 * b * PIXELS * h, 4.0 * b * PIXELS + 24.0 * PIXELS * h]


def _fitted(rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """t_0, 1 / F and 1 / B from three runs, none below 0."""
    from scipy.optimize import nnls

    terms = np.array([_terms(row) for row in rows])
    seconds = np.array([row["seconds"] / row["steps"] for row in rows])
    weighted = terms / seconds[:, None]  # relative errors
    scale = weighted.max(axis=0)
    return nnls(weighted / scale, np.ones(len(rows)))[0] / scale


def main(argv: Sequence[str]) -> None:
    """Measure all sizes, fit the model, print the tables."""
    settings = shared.parse(Settings, argv)
    axes = {name: sizes[:2] for name, sizes in AXES.items()} if settings.quick else AXES
    usual = USUAL | ({"images": 2_000} if settings.quick else {})
    rows: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for axis, sizes in axes.items():
            rows[axis] = []
            for value in sizes:
                size = usual | {axis: value}
                if not (path := folder / f"{size['images']}.npy").exists():
                    _called("--write", size, folder)
                rows[axis].append(json.loads(_called("--measure", size, folder)))
                if size["images"] > 1_000_000:
                    path.unlink()
    facts = {"data": "mnist", "images": 50_000, "backend": "cpu", "device": "cpu"}
    report = turns.Report("scale", turns.facts_of(facts), turns.output_folder(settings))
    report.say_machine()
    fitted = rows["hidden"][0], rows["hidden"][-1], rows["batch"][-1]
    t_0, per_flop, per_byte = model = _fitted(fitted)
    report.numbers |= {"rows": rows, "model": model.tolist()}
    report.say(
        f"t_0 = {t_0 * 1e6:.0f} µs, F = {1e-9 / per_flop if per_flop else np.inf:.0f} GFLOP/s, "
        f"B = {1e-9 / per_byte if per_byte else np.inf:.1f} GB/s"
    )
    worst = 0.0
    for axis, measured in rows.items():
        lines = []
        for row in measured:
            step = row["seconds"] / row["steps"]
            predicted = float(np.dot(_terms(row), model))
            off = predicted / step - 1
            counts = row["devices"] == 1 and row not in fitted
            worst = max(worst, abs(off)) if counts else worst
            lines.append(
                [
                    f"{row[axis]:,}",
                    f"{step * 1e6:.0f}",
                    f"{row['batch'] / step:,.0f}",
                    f"{predicted * 1e6:.0f} ({off:+.0%})" if row["devices"] == 1 else "",
                    f"{row['peak'] / 1e9:.2f}",
                ]
            )
        header = [axis, "µs a step", "images a second", "predicted µs", "peak memory, GB"]
        report.say(turns.markdown(header, lines))
    largest = rows["images"][-1]["peak"]
    targets = [
        ("prediction, worst relative error", worst, "<=", WITHIN),
        ("peak memory of the most images, GB", largest / 1e9, "<=", LARGEST / 1e9),
    ]
    if not settings.quick:
        report.say(turns.targets_in_words(targets))
    report.write()


if __name__ == "__main__":
    if sys.argv[1:2] in (["--write"], ["--measure"]):
        _work(sys.argv[1:])
    else:
        sys.exit(console.run(main))
