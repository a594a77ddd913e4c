"""How does the cost of training grow, with images, hidden units, the batch, devices and processes?

    python benchmarks/scale.py [--quick]

One epoch of the tutorial's dA (784-500, 30 % of the pixels masked, minibatches of 20) for one size
of each at a time. Images are MNIST's, repeated, in an .npy file; those of more than 1 GiB are
trained on in blocks. A model on paper predicts the seconds of a step of one device:

    t = t_0 + 10 b d h / F + (4 b d + 24 d h) / B

The 10 b d h are the operations of its five products of b images, d pixels and h units: the encoder,
the decoder, and three for the gradient. The bytes are those of the noise and of the weights, which
are read for each product and for the update, and written. t_0, F and B are fitted to four runs, the
fewest and the most units and the smallest and the largest batch, and predict the others.

The same model, with the numbers of an accelerator's data sheet and the sum of the gradients over a
network, says what a billion images would take on 64 of them; nothing of that was measured.
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
import processes
import turns

from dae_jax import console
from dae_jax.settings import shared

PIXELS = 784
USUAL = {"images": 50_000, "hidden": 500, "batch": 20, "devices": 1, "processes": 1}
AXES: dict[str, list[int]] = {
    "images": [10_000, 100_000, 1_000_000, 10_000_000],
    "hidden": [125, 250, 500, 1_000, 2_000],
    "batch": [5, 10, 20, 50, 100, 200],
    "devices": [1, 2],
    "processes": [1, 2],
}
WITHIN, LARGEST = 0.3, 1.5e9
FAR = {
    "t_0": 100e-6,  # of a dozen kernels, an assumption
    "F": 67e12,  # float32 operations a second of an H100 SXM, from its data sheet
    "B": 3.35e12,  # bytes a second of its memory
    "link": 50e9,  # bytes a second of a 400 Gb/s network interface
    "hop": 5e-6,  # seconds of latency for each of 2 log2(n) hops, an assumption
}
FAR_IMAGES, FAR_DEVICES, FAR_BATCHES = 10**9, 64, (20, 1_000, 20_000)


@dataclass(frozen=True)
class Settings(turns.Settings):
    """Measure how the cost of training grows."""

    prog: ClassVar[str] = "python benchmarks/scale.py"


def measure(size: dict[str, int], folder: Path) -> dict[str, Any]:
    """Train for an untimed epoch of few images, which compiles, and a timed one of all."""
    console.set_up_jax("float32", 1, size["devices"])
    if (n := size["processes"]) > 1:
        import jax

        jax.distributed.initialize(f"127.0.0.1:{size['port']}", n, size["process"])
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
        devices=None if (n_devices := size["devices"] * n) == 1 else n_devices,
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
    """What the first process prints, at the end."""
    size = size | {"port": processes.free_port()}
    together = []
    for i in range(size["processes"] if word == "--measure" else 1):
        words = [sys.executable, __file__, word, json.dumps(size | {"process": i}), str(folder)]
        together.append(subprocess.Popen(words, text=True, stdout=subprocess.PIPE))
    outputs = [process.communicate()[0] for process in together]
    if any(process.returncode for process in together):
        raise subprocess.CalledProcessError(1, words)
    return (outputs[0].splitlines() or [""])[-1]  # before it, the network says that it is there


def _terms(row: dict[str, Any]) -> list[float]:
    """The factors of t_0, 1 / F and 1 / B in the seconds of a step."""
    b, h = row["batch"], row["hidden"]
    return [1.0, 10.0 * b * PIXELS * h, 4.0 * b * PIXELS + 24.0 * PIXELS * h]


def _fitted(rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """t_0, 1 / F and 1 / B by least squares of relative errors, none below 0."""
    from scipy.optimize import nnls

    terms = np.array([_terms(row) for row in rows])
    seconds = np.array([row["seconds"] / row["steps"] for row in rows])
    weighted = terms / seconds[:, None]  # relative errors
    scale = weighted.max(axis=0)
    return nnls(weighted / scale, np.ones(len(rows)))[0] / scale


def far() -> str:
    """What a billion images would take on 64 accelerators, in a table, by the model alone."""
    d, h, n = PIXELS, USUAL["hidden"], FAR_DEVICES
    exchanged = 2 * (n - 1) / n * 4 * (d * h + d + h)  # bytes of a ring's sum of all gradients
    lines = []
    for b in FAR_BATCHES:
        compute = FAR["t_0"] + 10.0 * b * d * h / FAR["F"] + (4 * b * d + 24.0 * d * h) / FAR["B"]
        network = exchanged / FAR["link"] + 2 * np.log2(n) * FAR["hop"]
        seconds = FAR_IMAGES / (n * b) * (compute + network)
        lines.append(
            [
                f"{b:,}",
                f"{compute * 1e6:.0f}",
                f"{network * 1e6:.0f}",
                f"{seconds:.1f}",
                f"{FAR_IMAGES * PIXELS / n / seconds / 1e9:.2f}",
            ]
        )
    header = [
        *("images of a device in a step", "µs of computing", "µs of the network"),
        *("seconds an epoch", "GB/s that a device reads"),
    ]
    about = f"On paper: {FAR_IMAGES:,} images, {d}-{h}, on {n} accelerators: "
    return about + f"{FAR}\n\n" + turns.markdown(header, lines)


def draw(path: Path, rows: dict[str, list[dict[str, Any]]], model: np.ndarray) -> None:
    """Draw the images a second along each axis, measured and predicted."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    from dae_jax.figures import plots

    figure = Figure((13, 3.2), layout="constrained")
    every = figure.subplots(1, len(rows), sharey=True)
    for axes, (axis, measured) in zip(every, rows.items(), strict=True):
        values = [row[axis] for row in measured]
        speeds = [row["batch"] * row["steps"] / row["seconds"] for row in measured]
        axes.loglog(values, speeds, "o-", color=plots.COLOURS[0], label="measured")
        if axis not in ("devices", "processes"):
            predicted = [row["batch"] / np.dot(_terms(row), model) for row in measured]
            axes.loglog(values, predicted, "--", color=plots.COLOURS[1], label="predicted")
        axes.minorticks_off()
        axes.set_xticks(values)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set(xlabel=axis, ylim=(1e3, 1e5))
        axes.spines[["top", "right"]].set_visible(False)
    every[0].set_ylabel("images a second")
    every[0].legend(frameon=False)
    plots.save(path, figure, {})


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
    fitted = [rows[axis][end] for axis in ("hidden", "batch") for end in (0, -1)]
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
            alone = row["devices"] == row["processes"] == 1
            counts = alone and row not in fitted
            worst = max(worst, abs(off)) if counts else worst
            lines.append(
                [
                    f"{row[axis]:,}",
                    f"{step * 1e6:.0f}",
                    f"{row['batch'] / step:,.0f}",
                    f"{predicted * 1e6:.0f} ({off:+.0%})" if alone else "",
                    f"{row['peak'] / 1e9:.2f}",
                ]
            )
        header = [axis, "µs a step", "images a second", "predicted µs", "peak memory, GB"]
        report.say(turns.markdown(header, lines))
    report.say(far())
    largest = rows["images"][-1]["peak"]
    targets = [
        ("prediction, worst relative error", worst, "<=", WITHIN),
        ("peak memory of the most images, GB", largest / 1e9, "<=", LARGEST / 1e9),
    ]
    if not settings.quick:
        report.say(turns.targets_in_words(targets))
    if (path := report.write()) is not None:
        draw(path.with_suffix(".png"), rows, model)


if __name__ == "__main__":
    if sys.argv[1:2] in (["--write"], ["--measure"]):
        _work(sys.argv[1:])
    else:
        sys.exit(console.run(main))
