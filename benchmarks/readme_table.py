"""The README's table of speed, made from the reports of `speed.py`: one column per processor."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import processors
import turns

from dae_jax.errors import InputError
from dae_jax.files import write_whole

COMMAND = "python benchmarks/speed.py"
MARKS = f"<!-- speed: made by {COMMAND} --table README.md -->", "<!-- end of speed -->"
"""The lines of a Markdown file between which the table is written."""
BATCHES = 20, 128
BY_HAND = "PyTorch in place", "PyTorch in place, CUDA graph"
LABELS = {
    "PyTorch eager": "PyTorch, autograd",
    "torch.compile": "PyTorch, `torch.compile`",
    BY_HAND[0]: "PyTorch, by hand",
    BY_HAND[1]: "PyTorch, by hand, as a CUDA graph",
    "floor": "only the matrix products",
}
"""The contestants, as the README calls them."""


@dataclass(frozen=True)
class Report:
    """What the table needs of one report."""

    name: str
    machine: dict[str, Any]
    times: dict[tuple[int, str], list[float]]
    """The seconds of a contestant over those of dae_jax, one per round, by batch and contestant;
    those that were skipped are not there."""


def read(folder: Path) -> list[Report]:
    """Read the reports of `speed.py` on all of MNIST; others in the folder are left out.

    Raises:
        InputError: There is none; or one cannot be read, has another processor's name, lacks a
            table, or was measured on a busy machine.
    """
    reports = [r for path in sorted(folder.glob("speed-*.json")) if (r := _read_one(path))]
    if not reports:
        raise InputError(
            "--table", expected=f"reports speed-*.json in {folder}", got="none", do=f"run {COMMAND}"
        )
    return reports


def _read_one(path: Path) -> Report | None:
    again = f"make it again: {COMMAND}"
    try:
        numbers = json.loads(path.read_text())
        machine = numbers["machine"]
        if not processors.is_whole(machine):
            return None
        name = processors.file_name("speed", machine)
        tables = {batch: numbers[f"batch-{batch}"] for batch in BATCHES}
        times = {
            (batch, row): rounds
            for batch, rows in tables.items()
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
    return Report(name, machine, times)


def in_markdown(reports: list[Report]) -> str:
    """The table, and below it how the hand-written PyTorch compares on each processor."""
    lines = [
        ["batch", "times `dae_jax`", *(processors.title(report.machine) for report in reports)],
        ["---"] * (2 + len(reports)),
    ]
    for batch in BATCHES:
        first = str(batch)
        for row, label in LABELS.items():
            if any((batch, row) in report.times for report in reports):
                lines.append([first, label, *(_cell(report, batch, row) for report in reports)])
                first = ""
    lines.append(["", "measured", *(report.machine["date"] for report in reports)])
    lines.append(["", "JAX, PyTorch", *(_versions(report.machine) for report in reports)])
    lines.append(["", "report", *(f"`{report.name}.txt`" for report in reports)])
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return "\n\n".join([table, "\n".join(filter(None, map(_by_hand, reports)))])


def _cell(report: Report, batch: int, row: str) -> str:
    rounds = report.times.get((batch, row))
    if not rounds:
        return "not measured"
    return f"{median(rounds):.2f} ({min(rounds):.2f} to {max(rounds):.2f})"


def _versions(machine: dict[str, Any]) -> str:
    torch = machine.get("torch", "none").partition("+")[0]
    return f"{machine['jax']}, {torch}"


def _by_hand(report: Report) -> str:
    """A line on the hand-written PyTorch, or "" if it was not measured."""
    verdicts: dict[str, list[str]] = {}
    for batch in BATCHES:
        rows = [report.times[batch, row] for row in BY_HAND if (batch, row) in report.times]
        if rows:
            times = round(min(map(median, rows)), 2)
            word = "slower" if times > 1 else "faster" if times < 1 else "as fast"
            verdicts.setdefault(word, []).append(str(batch))
    words = ", ".join(f"{word} at batch {' and '.join(at)}" for word, at in verdicts.items())
    where = processors.title(report.machine)
    return f"- PyTorch by hand on {where}: {words}." if verdicts else ""


def put(page: Path, folder: Path) -> int:
    """Write the table of the reports in a folder between its two marks in a Markdown file.

    Raises:
        InputError: No such file, or no marks in it; or a report is not as it should be.
    """
    try:
        text = page.read_text()
    except (OSError, ValueError) as error:
        raise InputError(f"--table: cannot read {page}: {error}") from error
    begin, end = MARKS
    before, has_begin, rest = text.partition(begin)
    _, has_end, after = rest.partition(end)
    if not (has_begin and has_end):
        raise InputError(
            f"--table: {page}", expected=f"the lines {begin!r} and {end!r}", got="none"
        )
    write_whole(page, f"{before}{begin}\n\n{in_markdown(read(folder))}\n\n{end}{after}")
    return 0
