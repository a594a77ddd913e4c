"""Contestants measured in turns: A B C A B C ..., each in a process of its own, all in one run.

Seconds drift with a machine's load and temperature; ratios within a round hardly do. The result is
the median of the rounds' ratios. A benchmark is a script that ends with

    sys.exit(turns.start(main, prepare, contestants))

`main` measures and reports. The same script, started again as a worker, calls `prepare` once, to
write the common data into a folder, or one of `contestants`. The `Settings` of the script have a
`prog`, the command that its help names. The report goes to a file of the processor's name.
"""

import contextlib
import datetime
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import numpy as np
import processors

from dae_jax import console, files

Row = dict[str, Any]  # a contestant's seconds and the cost of its first epoch, or skip: the reason
Epoch = Callable[[], float | None]  # trains for one epoch and returns its mean cost
Target = tuple[str, float | None, str, float]  # name, measured value or None, comparison, bound

RESULTS = Path(__file__).parent / "results"
BUSY = 0.1  # the share of the cores that other work may keep busy
# What changes the speed of BLAS, if it is set; a report says so.
VARIABLES = "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE"


@dataclass(frozen=True)
class Settings:
    """The flags of every benchmark."""

    prog: ClassVar[str] = ""
    quick: bool = False
    """Few images, two rounds: a test of the script, whose numbers mean nothing."""
    output_dir: Path | None = None
    """Folder for the report, a .txt and a .json with the processor's name. By default
    benchmarks/results for a run without other flags, and none for a quick or a partial one."""


class Report:
    """What a benchmark prints, and all its numbers.

    Args:
        script: The name of the script, without its ending.
        machine: The date, the machine and the versions.
        folder: The folder for the files; None to print only.
    """

    def __init__(self, script: str, machine: Row, folder: Path | None):
        self.machine = machine
        self.numbers: Row = {"machine": machine}
        self._script, self._folder, self._text = script, folder, ""

    def say(self, text: str) -> None:
        """Print a paragraph, which is also one of the report's."""
        print(text + "\n", flush=True)
        self._text += f"\n{text}\n" if self._text else f"{text}\n"

    def say_machine(self) -> None:
        """Print the facts of the machine."""
        words = {True: "yes", False: "no"}
        lines = [
            [key, words[value] if isinstance(value, bool) else str(value)]
            for key, value in self.machine.items()
        ]
        self.say(markdown(["machine", ""], lines))

    def write(self) -> Path | None:
        """Write the files, and say where; returns the text's, None without a folder."""
        if self._folder is None:
            return None
        name = processors.file_name(self._script, self.machine)
        text = files.write_whole(self._folder / f"{name}.txt", self._text)
        numbers = json.dumps(self.numbers, indent=2)
        path = files.write_whole(self._folder / f"{name}.json", numbers + "\n")
        print(f"{path} has every number, and {text.name} beside it is this report")
        return text


def two(
    settings: Any,
    contestants: Mapping[str, str],
    rounds: int,
    epochs: int,
    number: str,
    bound: tuple[str, float],
) -> None:
    """Measure two contestants, the reference first, and print one table.

    Args:
        settings: The flags of the script.
        contestants: Their functions by the names of their rows.
        rounds: The number of rounds; two of a quick run.
        epochs: The epochs of a round, for the words above the table.
        number: The name of the rows in the report.
        bound: What their ratio is called, and the largest that is wanted.
    """
    with prepared(settings) as (folder, report):
        entries = {name: {"contestant": one} for name, one in contestants.items()}
        rows = measure(folder, 2 if settings.quick else rounds, entries)
        check_learning(rows)
        reference, other = rows.values()
        what, most = bound
        target = what, ratio(other, reference), "<=", most
        report.numbers[number] = rows
        report.say(f"{epochs} epochs of {report.machine['images']:,} images")
        report.say(in_words(rows, [] if settings.quick else [target]))


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
def prepared(settings: Settings) -> Iterator[tuple[Path, Report]]:
    """A prepared folder, and a report that begins with the machine and is written at the end.

    A run that stops with an error writes none, and an older one is kept.
    """
    output = output_folder(settings)
    if output:
        files.writable_folder(output)  # fail now rather than at the end
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # An own cache, so that the first start is a cold one; and one GPU for all workers.
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "xla")
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        if status := _call(folder, {"quick": settings.quick}).wait():
            raise SystemExit(status)  # it has printed the reason
        about = facts_of(json.loads((folder / "about.json").read_text()))
        report = Report(Path(settings.prog).stem, about, output)
        report.say_machine()
        yield folder, report
        report.write()


def output_folder(settings: Settings) -> Path | None:
    """The folder for the report: a quick or partial run must not replace a whole one's."""
    if settings.output_dir is None and settings == type(settings)():
        return RESULTS
    return settings.output_dir


def write_facts(folder: Path, data: str, images: int) -> None:
    """Write the facts that the parent needs, which loads neither images nor JAX."""
    import jax

    facts = {"data": data, "images": images, "backend": jax.default_backend()}
    kind = jax.devices()[0].device_kind
    (folder / "about.json").write_text(json.dumps(facts | {"device": kind}))


def facts_of(about: Row, versions: Sequence[str] = ("jax", "torch", "numpy")) -> Row:
    """The date, the machine, the versions, and variables that change the speed."""
    facts = {"date": str(datetime.date.today())} | processors.facts() | about
    for name in versions:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            facts[name] = importlib.metadata.version(name)
    return facts | {name: os.environ[name] for name in VARIABLES if name in os.environ}


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
    rounds = ratios(a, b)
    return median(rounds) if rounds else None


def ratios(a: Row, b: Row) -> list[float]:
    """The seconds of `a` divided by those of `b`, one per round."""
    return [x / y for x, y in zip(a.get("seconds", []), b.get("seconds", []), strict=False)]


def busy(rows: dict[str, Row]) -> float:
    """The share of the cores that other work kept busy: the worst row's median."""
    return max((median(row["others"]) for row in rows.values() if "others" in row), default=0)


def markdown(header: list[str], lines: list[list[str]]) -> str:
    """A table."""
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    rows = header, ["-" * width for width in widths], *lines
    return "\n".join("| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows)


def in_words(rows: dict[str, Row], targets: Sequence[Target] = ()) -> str:
    """Seconds and ratios, then the targets."""
    first, lines = next(iter(rows)), []
    for name, row in rows.items():
        if seconds := row.get("seconds"):
            cost = "" if row.get("cost") is None else f"{row['cost']:.2f}"
            times = f"{ratio(row, rows[first]) or 0:.2f}"
            lines.append([name, f"{median(seconds):.3f}", f"{min(seconds):.3f}", times, cost])
        elif "skip" in row:
            lines.append([name, "", "", "", f"skipped: {row['skip']}"])
    parts = []
    if (others := busy(rows)) > BUSY:  # threads of PyTorch and NumPy spin, waiting for each other
        parts.append(
            f"*** Other work kept the cores {others:.0%} busy: it slows PyTorch most. Run again."
        )
    if lines:
        parts.append(
            markdown(["", "median s", "min s", f"times {first}", "cost of epoch 1"], lines)
        )
    return "\n\n".join(parts + ([targets_in_words(targets)] if targets else []))


def targets_in_words(targets: Sequence[Target]) -> str:
    """The targets, and whether they were reached."""
    lines = []
    for name, value, sign, bound in targets:
        measured, reached = "not measured", ""
        if value is not None:
            reached = {">=": value >= bound, "<=": value <= bound, "<": value < bound}[sign]
            measured, reached = f"{value:.2f}", "yes" if reached else "no"
        lines.append([name, measured, f"{sign} {bound}", reached])
    return markdown(["target", "measured", "wanted", "reached"], lines)
