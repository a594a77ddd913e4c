"""How fast is one layer of dae_jax? Contestants measured in turns (A B C A B C ...), in one run.

    pip install ".[bench]" && python benchmarks/speed.py [--quick] [--only TABLE ...]
    python benchmarks/speed.py --table docs/speed.md   # its table, from existing reports

Seconds drift with a machine's load and temperature; ratios within a round hardly do. The result is
the median of the rounds' ratios. benchmarks/README.md says how to read the tables.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import ClassVar, Literal, get_args

import contestants
import numpy as np
import speed_table
import turns
from turns import Row, ratio

from dae_jax.experiments import pages
from dae_jax.settings import shared

Table = Literal[
    "batch-20",
    "batch-128",
    "hidden",
    "batch-size",
    "images",
    "sweep",
    "start-up",
    "memory",
    "total",
]
LEVEL, HIDDEN = contestants.LEVEL, 500


@dataclass(frozen=True)
class Settings(turns.Settings):
    """Measure dae_jax against PyTorch and against bare matrix products."""

    prog: ClassVar[str] = "python benchmarks/speed.py"
    only: tuple[Table, ...] = get_args(Table)
    """The tables to measure; total is for GPUs only."""
    table: Path | None = None
    """Write the table of all reports between its two marks in this Markdown file, and stop."""


def prepare(folder: Path, how: Row) -> None:
    """Write images and initial weights."""
    from dae_jax import autoencoder, datasets

    dataset = datasets.load_default()
    data = dataset.train.images[: 5000 if how["quick"] else None]
    np.save(folder / "images.npy", data)
    np.save(folder / "W.npy", autoencoder.init_tutorial(123, data.shape[1], HIDDEN).W)
    turns.write_facts(folder, dataset.name, len(data))


# The training command with an epoch of one minibatch: its metrics are written right after the first
# update, so the time includes tracing and loading the compiled program.
ONE_UPDATE = """
from dae_jax import console, training
fit = training.fit
def one_update(cost, state, images, *rest, **how):
    return fit(cost, state, images[:how["batch_size"]], *rest, **how)
training.fit = one_update
raise SystemExit(console.cli("train"))
"""


def run_train(folder: Path, data: str, *words: str) -> tuple[float, float]:
    """Seconds from the start of the process to its last metrics, and its peak of resident MB."""
    out = Path(tempfile.mkdtemp(dir=folder))
    flags = ["--data", data, "--run-dir", str(out / "run"), "--output-dir", str(out / "figures")]
    began = time.time()
    process = subprocess.Popen([sys.executable, *words, *flags], stdout=subprocess.DEVNULL)
    # Of this child alone; but Linux counts its parent's memory, so that one loads no JAX or images.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the training command ended with status {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return (out / "run/metrics.jsonl").stat().st_mtime - began, usage.ru_maxrss * unit / 1e6


# The tables.


def entries_of(table: str, about: Row) -> dict[str, Row]:
    """The rows of a table; the first is the reference."""
    gpu, n = about["backend"] != "cpu", about["images"]
    jax: Row = {"contestant": "dae_jax", "batch": 20}
    if table == "hidden":
        return {f"hidden {h}": jax | {"hidden": h} for h in (500, 125, 250, 1000, 2000)}
    if table == "batch-size":
        return {f"batch {b}": jax | {"batch": b} for b in (20, 5, 10, 50, 100, 200, 500)}
    if table == "images":
        return {f"images {k}": jax | {"images": k} for k in (n, n // 10, n // 4, n // 2)}
    if table == "sweep":
        levels = [LEVEL, *(0.05 * i for i in range(16 if gpu else 4) if i)]
        return {"one level": jax, f"{len(levels)} levels": jax | {"levels": levels}}
    if table == "total":
        return {"15 epochs": jax | {"epochs": 15}}
    how = {"batch": int(table.split("-")[1]), "device": "cuda" if gpu else "cpu"}
    entries = contestants.entries_of(how, "dae_jax", "autograd", "in_place")
    return entries | {"floor": how | {"contestant": "floor"}}


def targets_of(table: str, rows: dict[str, Row]) -> list[turns.Target]:
    """The targets of a table, with the values measured."""
    first, *others = rows.values()
    if table == "memory":
        return [("peak of resident memory, MB", first["MB"], "<=", 700)]
    if table == "start-up":
        return [("seconds to the first update", median(others[0]["seconds"]), "<=", 4)]
    if table == "total":
        return [("seconds for 15 epochs", median(first["seconds"]), "<=", 1)]
    if table == "sweep":
        times = ratio(others[0], first)
        if "16 levels" in rows:
            return [("16 levels / one", times, "<", 2)]
        return [("time per level / time of one alone", times and times / 4, "<=", 1)]
    if table not in ("batch-20", "batch-128"):
        return []
    torch = [times for row in others[:-1] if (times := ratio(row, first))]
    return [
        ("PyTorch eager / dae_jax", ratio(others[0], first), ">=", 2.3),
        ("best PyTorch / dae_jax", min(torch, default=None), ">=", 1.2),
        ("dae_jax / floor", ratio(first, rows["floor"]), "<=", 1.1),
    ]


def run_table(table: str, folder: Path, about: Row, quick: bool) -> dict[str, Row]:
    rounds = 2 if quick else 7 if table in ("batch-20", "batch-128", "sweep") else 4
    if table == "memory":
        words = ["-m", "dae_jax.train", *(["--epochs", "1"] if quick else [])]
        return {"default run": {"MB": run_train(folder, about["data"], *words)[1]}}
    if table == "start-up":
        words = about["data"], "-c", ONE_UPDATE, "--epochs", "1"
        cold, *warm = (run_train(folder, *words)[0] for _ in range(1 + rounds))
        return {"nothing cached": {"seconds": [cold]}, "compiled before": {"seconds": warm}}
    rows = turns.measure(folder, rounds, entries_of(table, about))
    if table in ("batch-20", "batch-128", "sweep"):
        turns.check_learning(rows)
    return rows


def main(argv: Sequence[str]) -> int:
    settings = shared.parse(Settings, argv)
    if settings.table:
        reports = speed_table.read(settings.output_dir or turns.RESULTS)
        tables = {speed_table.MARKS: lambda: speed_table.in_markdown(reports)}
        pages.put_tables(settings.table, tables)
        return 0
    with turns.prepared(settings) as (folder, report):
        for table in settings.only:
            if table == "total" and report.machine["backend"] == "cpu":
                continue
            report.say(f"## {table}")
            rows = run_table(table, folder, report.machine, settings.quick)
            report.numbers[table] = rows
            report.say(turns.in_words(rows, targets_of(table, rows)))
    return 0


if __name__ == "__main__":
    four = contestants.dae_jax, contestants.autograd, contestants.in_place, contestants.floor
    sys.exit(turns.start(main, prepare, four))
