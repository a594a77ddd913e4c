"""Contestants measured in turns: A B C A B C ..., each in a process of its own, all in one run.

Seconds drift with a machine's load and temperature; ratios within a round hardly do. The result is
the median of the rounds' ratios. A benchmark is a script that ends with

    sys.exit(turns.start(main, prepare, contestants))

`main` measures and prints. The same script, started again as a worker, calls `prepare` once, to
write the common data into a folder, or one of `contestants`. The `Settings` of the script have a
`prog`, the command that its help names.
"""

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from dae_jax import console, files

Row = dict[str, Any]  # a contestant's seconds and the cost of its first epoch, or skip: the reason
Epoch = Callable[[], float | None]  # trains for one epoch and returns its mean cost
Target = tuple[str, float | None, str, float]  # name, measured value or None, comparison, bound


@dataclass(frozen=True)
class Settings:
    """The flags of every benchmark."""

    quick: bool = False
    """Few images, two rounds: a test of the script, whose numbers mean nothing."""
    json: Path | None = None
    """File for all numbers."""


def start(
    main: Callable[[Sequence[str]], int | None],
    prepare: Callable[[Path, Row], None],
    contestants: Sequence[Callable[..., Epoch]],
) -> int:
    """Run the script: `main`, or the work of a worker if the script has started itself as one.

    Args:
        main: Takes the command line.
        prepare: ``prepare(folder, {"quick": bool})``, which ends with `write_facts`.
        contestants: ``contestant(folder, **how)``, found by the name under ``"contestant"`` in
            `how`. If it raises an exception, its row is skipped, with the reason. Each imports
            only the libraries that it needs.
    """
    if sys.argv[1:2] != ["--in-worker"]:
        return console.run(main)
    how = json.loads(sys.argv[3])
    do = partial(_work, contestants) if "contestant" in how else prepare
    return console.run(lambda argv: do(Path(argv[1]), how))


@contextlib.contextmanager
def prepared(settings: Settings) -> Iterator[tuple[Path, Row]]:
    """A prepared folder, and the facts of the machine, which are printed, too."""
    if settings.json:
        files.write_whole(settings.json, "{}\n")  # fail now rather than at the end
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # An own cache, so that the first start is a cold one; and one GPU for all workers.
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "xla")
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        if status := _call(folder, {"quick": settings.quick}).wait():
            raise SystemExit(status)  # it has printed the reason
        about = _facts_of(json.loads((folder / "about.json").read_text()))
        markdown(["machine", ""], [[key, str(value)] for key, value in about.items()])
        yield folder, about


def write_facts(folder: Path, data: str, images: int) -> None:
    """Write the facts that the parent needs, which loads neither images nor JAX."""
    import jax

    facts = {"data": data, "images": images, "backend": jax.default_backend()}
    kind = jax.devices()[0].device_kind
    (folder / "about.json").write_text(json.dumps(facts | {"device": kind}))


def _facts_of(about: Row) -> Row:
    """The date, the machine and the versions."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    facts = {"date": str(datetime.date.today()), "cpu": cpu, "cores": console.cores()} | about
    for name in ("jax", "torch", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            facts[name] = importlib.metadata.version(name)
    return facts


# The workers: one process each, so that the thread pools of JAX, PyTorch and NumPy stay apart.


def _work(contestants: Sequence[Callable[..., Epoch]], folder: Path, how: Row) -> None:
    """Train one untimed epoch, which compiles, then a timed one for every line on stdin."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keep the output of libraries out of the answers
    contestant = {f.__name__: f for f in contestants}[how["contestant"]]
    try:
        epoch = contestant(folder, **how)
        print(json.dumps({"cost": epoch(), "seconds": []}), file=channel, flush=True)
    except Exception as error:  # this row shows the reason; the others go on
        reason = str(error).split("\n")[0] or repr(error)
        return print(json.dumps({"skip": reason}), file=channel, flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        epoch()
        print(time.perf_counter() - began, file=channel, flush=True)


def _call(folder: Path, how: Row) -> subprocess.Popen:
    words = [sys.executable, sys.argv[0], "--in-worker", str(folder), json.dumps(how)]
    return subprocess.Popen(words, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@contextlib.contextmanager
def _worker(folder: Path, how: Row) -> Iterator[Callable[[str], Any]]:
    """A contestant's process, as a function that writes a line to it and returns its answer."""
    process: Any = _call(folder, how)

    def ask(line: str) -> Any:
        process.stdin.write(line)
        process.stdin.flush()
        if answer := process.stdout.readline():
            return json.loads(answer)
        raise SystemExit(f"{how}: its process ended with status {process.wait()}")

    try:
        yield ask
    finally:
        process.kill()
        process.communicate()


def _busy_share(seconds: float) -> float:
    """The share of the cores that is busy while no contestant runs; 0 if not on Linux."""
    stat, ticks = Path("/proc/stat"), []
    for pause in (seconds, 0):
        line = stat.read_text().split()[1:9] if stat.exists() else [0] * 8
        ticks.append(np.array(line, int))
        time.sleep(pause)
    passed = ticks[1] - ticks[0]
    return float(1 - passed[3:5].sum() / passed.sum()) if passed.any() else 0.0


def measure(folder: Path, rounds: int, entries: dict[str, Row]) -> dict[str, Row]:
    """Measure all entries in turns; the others are compared with the first.

    Args:
        folder: The folder that `prepare` wrote, for the contestants.
        rounds: Timed epochs of each.
        entries: The arguments of the contestant of each row, by the row's name.
    """
    with contextlib.ExitStack() as stack:
        asks = {name: stack.enter_context(_worker(folder, how)) for name, how in entries.items()}
        rows: dict[str, Row] = {name: ask("") for name, ask in asks.items()}
        for name in [name for _ in range(rounds) for name in rows if "skip" not in rows[name]]:
            # Threads of OpenMP and OpenBLAS spin for up to .2 s after their last work. Forbidding
            # it (OMP_WAIT_POLICY=PASSIVE) would slow PyTorch down, so wait until they sleep.
            time.sleep(0.25)
            rows[name].setdefault("others", []).append(_busy_share(0.25))
            rows[name]["seconds"].append(asks[name]("go\n"))
    if reason := next(iter(rows.values())).get("skip"):
        raise SystemExit(f"{next(iter(rows))}: {reason}")
    return rows


def check_learning(rows: dict[str, Row]) -> None:
    """Check that all reach the cost of the first row; if not, their work differs."""
    costs = {name: row["cost"] for name, row in rows.items() if row.get("cost") is not None}
    (reference, wanted), *_ = costs.items()
    for name, cost in costs.items():
        if not abs(cost / wanted - 1) <= 0.01:
            raise SystemExit(f"{name}: cost {cost:.5g} after one epoch; {reference}: {wanted:.5g}")


def ratio(a: Row, b: Row) -> float | None:
    """The seconds of `a` divided by those of `b`: the median over the rounds."""
    pairs = list(zip(a.get("seconds", []), b.get("seconds", []), strict=False))
    return median(x / y for x, y in pairs) if pairs else None


def markdown(header: list[str], lines: list[list[str]]) -> None:
    """Print a table."""
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    for line in (header, ["-" * width for width in widths], *lines):
        print("| " + " | ".join(map(str.ljust, line, widths)) + " |")
    print(flush=True)


def show(rows: dict[str, Row], targets: Sequence[Target] = ()) -> None:
    """Print seconds and ratios, then the targets."""
    first, lines = next(iter(rows)), []
    for name, row in rows.items():
        if seconds := row.get("seconds"):
            cost = "" if row.get("cost") is None else f"{row['cost']:.2f}"
            times = f"{ratio(row, rows[first]) or 0:.2f}"
            lines.append([name, f"{median(seconds):.3f}", f"{min(seconds):.3f}", times, cost])
        elif "skip" in row:
            lines.append([name, "", "", "", f"skipped: {row['skip']}"])
    others = max((median(row["others"]) for row in rows.values() if "others" in row), default=0)
    if others > 0.1:  # PyTorch's and NumPy's threads spin while they wait for each other
        print(
            f"*** Other work kept the cores {others:.0%} busy: it slows PyTorch most. Run again.\n"
        )
    if lines:
        markdown(["", "median s", "min s", f"times {first}", "cost of epoch 1"], lines)
    show_targets(targets)


def show_targets(targets: Sequence[Target]) -> None:
    """Print the targets, if there are any, and whether they were reached."""
    lines = []
    for name, value, sign, bound in targets:
        measured, reached = "not measured", ""
        if value is not None:
            reached = {">=": value >= bound, "<=": value <= bound, "<": value < bound}[sign]
            measured, reached = f"{value:.2f}", "yes" if reached else "no"
        lines.append([name, measured, f"{sign} {bound}", reached])
    if lines:
        markdown(["target", "measured", "wanted", "reached"], lines)


def save(settings: Settings, numbers: Row) -> None:
    """Write all numbers so far, if ``--json`` was given."""
    if settings.json:
        files.write_whole(settings.json, json.dumps(numbers, indent=2) + "\n")
