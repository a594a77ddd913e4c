"""The table of speed in docs/speed.md, made from the reports: one column per processor."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import processors
import turns

from dae_jax.errors import InputError
from dae_jax.experiments.pages import Marks

COMMAND = "python benchmarks/speed.py"
MARKS: Marks = f"<!-- speed: made by {COMMAND} --table docs/speed.md -->", "<!-- end of speed -->"
"""The lines of a Markdown file between which the table is written."""
TABLES = {
    "batch-20": ("speed", "20"),
    "batch-128": ("speed", "128"),
    "ladder": ("ladder", "100, ladder network"),
}
"""The tables of the reports: the script that makes each, and the page's name of it."""
BY_HAND = "PyTorch in place", "PyTorch in place, CUDA graph"
LABELS = {
    "PyTorch eager": "PyTorch, autograd",
    "torch.compile": "PyTorch, `torch.compile`",
    BY_HAND[0]: "PyTorch, by hand",
    BY_HAND[1]: "PyTorch, by hand, as a CUDA graph",
    "floor": "only the matrix products",
}
"""The contestants, as the page calls them."""


@dataclass(frozen=True)
class Report:
    """What the table needs of the reports of one processor."""

    machines: dict[str, dict[str, Any]]
    """The facts in each report, by its name; that of `speed.py` is the first."""
    times: dict[tuple[str, str], list[float]]
    """The seconds of a contestant over those of dae_jax, one per round, by table and contestant;
    those that were skipped are not there."""

    @property
    def name(self) -> str:
        """The name of the report of `speed.py`."""
        return next(iter(self.machines))

    @property
    def processor(self) -> str:
        """The processor in words."""
        return processors.title(self.machines[self.name])


def read(folder: Path) -> list[Report]:
    """Read the reports of `speed.py` on all of MNIST, and those of other scripts beside them.

    Raises:
        InputError: There is none; or one cannot be read, has another processor's name, lacks a
            table, or was measured on a busy machine.
    """
    reports = [r for path in sorted(folder.glob("speed-*.json")) if (r := _read_one(path))]
    if not reports:
        raise InputError(
            "--table", expected=f"reports speed-*.json in {folder}", got="none", do=f"run {COMMAND}"
        )
    return [_with_others(report, folder) for report in reports]


def _with_others(report: Report, folder: Path) -> Report:
    """Add the reports that other scripts made on the same processor, if there are any."""
    machines, times = report.machines, report.times
    for script in sorted({script for script, _ in TABLES.values()} - {"speed"}):
        path = folder / f"{report.name.replace('speed', script, 1)}.json"
        if path.exists() and (other := _read_one(path)):
            machines, times = machines | other.machines, times | other.times
    return Report(machines, times)


def _read_one(path: Path) -> Report | None:
    made_by = path.name.partition("-")[0]
    again = f"make it again: python benchmarks/{made_by}.py"
    try:
        numbers = json.loads(path.read_text())
        machine = numbers["machine"]
        if not processors.is_whole(machine):
            return None
        name = processors.file_name(made_by, machine)
        tables = {table: numbers[table] for table, (by, _) in TABLES.items() if by == made_by}
        times = {
            (table, row): rounds
            for table, rows in tables.items()
            for row in LABELS
            if (rounds := turns.ratios(rows.get(row, {}), rows["dae_jax"]))
        }
        busy = max(turns.busy(rows) for rows in tables.values())
        _ = machine["date"], machine["jax"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"cannot read {path}: {error!r}", do=again) from error
    if path.stem != name:
        raise InputError(path, expected=f"the name of its processor, {name}.json", got=path.name)
    if busy > turns.BUSY:
        raise InputError(
            path,
            expected="an idle machine",
            got=f"cores that other work kept {busy:.0%} busy",
            do=again,
        )
    return Report({name: machine}, times)


def in_markdown(reports: list[Report]) -> str:
    """The table, and below it how the hand-written PyTorch compares on each processor."""
    lines = [
        ["batch", "times `dae_jax`", *(report.processor for report in reports)],
        ["---"] * (2 + len(reports)),
    ]
    for table, (_, first) in TABLES.items():
        for row, label in LABELS.items():
            if any((table, row) in report.times for report in reports):
                lines.append([first, label, *(_cell(report, table, row) for report in reports)])
                first = ""
    for label, fact in (
        ("measured", lambda name, machine: machine["date"]),
        ("JAX, PyTorch", lambda name, machine: _versions(machine)),
        ("report", lambda name, machine: f"`{name}.txt`"),
    ):
        lines.append(["", label, *(_of_all(report, fact) for report in reports)])
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return "\n\n".join([text, "\n".join(filter(None, map(_by_hand, reports)))])


def _of_all(report: Report, fact: Callable[[str, dict[str, Any]], str]) -> str:
    """A fact of all reports of a processor; once if they agree."""
    facts = [fact(name, machine) for name, machine in report.machines.items()]
    return ", ".join(dict.fromkeys(facts))


def _cell(report: Report, table: str, row: str) -> str:
    rounds = report.times.get((table, row))
    if not rounds:
        return "not measured"
    return f"{median(rounds):.2f} ({min(rounds):.2f} to {max(rounds):.2f})"


def _versions(machine: dict[str, Any]) -> str:
    torch = machine.get("torch", "none").partition("+")[0]
    return f"{machine['jax']}, {torch}"


def _by_hand(report: Report) -> str:
    """A line on the hand-written PyTorch, or "" if it was not measured."""
    verdicts: dict[str, list[str]] = {}
    for table, (_, label) in TABLES.items():
        rows = [report.times[table, row] for row in BY_HAND if (table, row) in report.times]
        if rows:
            times = round(min(map(median, rows)), 2)
            word = "slower" if times > 1 else "faster" if times < 1 else "as fast"
            verdicts.setdefault(word, []).append(label)
    words = ", ".join(f"{word} at batch {' and '.join(at)}" for word, at in verdicts.items())
    return f"- PyTorch by hand on {report.processor}: {words}." if verdicts else ""
