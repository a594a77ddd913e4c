"""The reports of all experiments: their check, their list, and their tables in pages."""

import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from dae_jax import records
from dae_jax.errors import InputError
from dae_jax.experiments.claims import Claim, Improved, Reproduced, in_words, is_share, judged
from dae_jax.experiments.experiment import VERSION, Experiment, declaration, fingerprint
from dae_jax.experiments.pages import Marks

__all__ = [
    "MARKS",
    "PROG",
    "SHORT_MARKS",
    "Row",
    "check",
    "in_markdown",
    "in_short",
    "read",
    "rows",
    "show",
    "stale",
    "summarise",
    "tables",
]

LARGEST = 1e100
"""The largest number in a report: its square is a number, too."""
PROG = "python -m dae_jax.reproduce"
"""The command that makes the reports."""
MARKS = (
    "<!-- results: made by python -m dae_jax.reproduce --table README.md docs/results.md -->",
    "<!-- end of results -->",
)
"""The lines between which all numbers stand in a page of `docs/`."""
SHORT_MARKS = (
    "<!-- short: made by python -m dae_jax.reproduce --table README.md docs/results.md -->",
    "<!-- end of short -->",
)
"""The lines between which the verdicts stand in the README."""

Report = dict[str, Any]


class Row(NamedTuple):
    """A claim with its measured values; none if the report is missing or of another declaration."""

    experiment: str
    claim: Claim
    values: Sequence[float]
    verdict: str | None


def read(experiments: Mapping[str, Experiment], reports: Path) -> dict[str, Report]:
    """Read the existing reports, by experiment.

    Raises:
        InputError: A report cannot be read, is cut off, or is of another version; or the folder
            holds the report of an experiment that does not exist.
    """
    existing = {}
    # `Path.glob` raises for a name that no folder can have
    for path in sorted(reports.glob("*/report.json")) if os.path.isdir(reports) else []:
        name = path.parent.name
        if name in experiments:
            existing[name] = _checked(path, _load(path), name)
        elif _is_of_experiment(path, name):
            raise InputError(
                f"{path}",
                expected="the report of an experiment that exists",
                got=name,
                do="remove its folder",
            )
    return {name: existing[name] for name in experiments if name in existing}


def _is_of_experiment(path: Path, name: str) -> bool:
    """Whether a file is the report of an experiment of that name, not one of another command."""
    try:
        return _load(path).get("experiment") == name
    except InputError:
        return False


def _load(path: Path) -> Report:
    """The JSON object in a file.

    Raises:
        InputError: It cannot be read, or is no JSON object.
    """
    return records.load(path, dict[str, Any], f"make it again: {PROG} {path.parent.name}")


def _checked(path: Path, report: Report, name: str) -> Report:
    """A report whose parts are as this version writes them.

    Raises:
        InputError: It is of another version, or parts are missing or of another type.
    """
    again = f"make it again: {PROG} {name}"
    version = report.get("version", 1)
    if version != VERSION:
        raise InputError(
            f"{path}", expected=f"a report of version {VERSION}", got=version, do=again
        )
    whole = records.checked(report, _Whole, str(path), again)
    for name, number in whole["numbers"].items():
        where = f"{name!r} in {path}"
        values = number["values"] = records.checked(number, _Number, where, again)["values"]
        if not values or any(abs(value) > LARGEST for value in values):
            expected = f"numbers between -{LARGEST:g} and {LARGEST:g}"
            raise InputError(where, expected=expected, got=values, do=again)
    return report


class _Number(TypedDict):
    """The part of a number that is read."""

    values: list[float]


class _Whole(TypedDict):
    """The parts of a report that are read."""

    fingerprint: str
    declaration: dict[str, Any]
    numbers: dict[str, Any]  # each a `_Number`
    seconds: float
    published_applies: bool
    data: dict[str, Any]


def stale(experiment: Experiment, report: Report) -> list[str]:
    """The parts of today's declaration that differ from the report's; none if it is today's."""
    today = declaration(experiment)
    if report["published_applies"] and report["fingerprint"] == fingerprint(today):
        return []
    differ = [part for part, now in today.items() if report["declaration"].get(part) != now]
    return differ or ["data"]


def rows(experiments: Mapping[str, Experiment], existing: Mapping[str, Report]) -> list[Row]:
    """One row per claim, in the order of the catalogue.

    Raises:
        InputError: A report lacks a claimed number or some of its values, or an interval would be
            of one seed.
    """
    found = []
    for name, experiment in experiments.items():
        report = existing.get(name)
        current = report is not None and not stale(experiment, report)
        for claim in experiment.claims:
            if report is None or not current:
                found.append(Row(name, claim, (), None))
                continue
            if claim.number not in report["numbers"]:
                raise InputError(
                    f"report of {name}",
                    expected=f"the number {claim.number!r}",
                    got="none",
                    do=f"make it again: {PROG} {name}",
                )
            values = report["numbers"][claim.number]["values"]
            if len(values) != len(experiment.seeds):
                raise InputError(
                    f"report of {name}, {claim.number!r}",
                    expected=f"{len(experiment.seeds)} values, one per seed",
                    got=len(values),
                    do=f"make it again: {PROG} {name}",
                )
            verdict = judged(claim, report["numbers"])["verdict"]
            found.append(Row(name, claim, values, verdict))
    return found


def check(experiments: Mapping[str, Experiment], reports: Path) -> int:
    """Compare the existing reports with today's declarations and claims.

    Returns:
        The exit status: 1 if a report is missing or of another declaration, a reproduced number is
        worse than published, or an improved one is not better; else 0.

    Raises:
        InputError: There is no report, or one cannot be used; see `read` and `rows`.
    """
    existing = read(experiments, reports)
    if not existing:
        raise InputError(
            "--check",
            expected=f"reports in {reports}",
            got="none",
            do=f"run {PROG} --all, or name an experiment",
        )
    faults = []
    for name, experiment in experiments.items():
        if name not in existing:
            faults.append(f"{name}: no report; run {PROG} {name}")
        elif differ := stale(experiment, existing[name]):
            faults.append(
                f"{name}: the report is of other {' and '.join(differ)} than declared today; "
                f"run {PROG} {name}"
            )
    table = rows(experiments, existing)
    faults += [_fault(row) for row in table if row.verdict in ("worse", "not better")]
    for fault in faults:
        print(fault)
    print(counted(table))
    return 1 if faults else 0


def _fault(row: Row) -> str:
    claim = row.claim
    return (
        f"{row.experiment}: {claim.number} is {_mean(row)}, {row.verdict} than the published "
        f"{claim.published} ({_interval(row)})"
    )


def counted(table: Sequence[Row]) -> str:
    """One sentence per kind: how many rows, and with which verdicts."""
    kinds = {"reproduced": ("agrees", "better", "worse"), "improved": ("better", "not better")}
    words = []
    for kind, verdicts in kinds.items():
        own = [row for row in table if row.claim.kind == kind]
        counts = Counter("not measured" if row.verdict is None else row.verdict for row in own)
        parts = [
            f"{counts[v]} {_plural(v, counts[v])}" for v in (*verdicts, "not measured") if counts[v]
        ]
        numbers = "number" if len(own) == 1 else "numbers"
        words.append(f"{len(own)} {numbers} {kind}: {', '.join(parts)}.")
    shown = sum(row.claim.kind == "shown" for row in table)
    words.append(f"{shown} shown, without a verdict.")
    return " ".join(words)


def _plural(verdict: str, n: int) -> str:
    return "agree" if verdict == "agrees" and n != 1 else verdict


def show(
    experiments: Mapping[str, Experiment], reports: Path, more: Sequence[Sequence[str]] = ()
) -> int:
    """Print the list of experiments: what, kind, published, measured, verdict, time.

    Args:
        experiments: The experiments, by name.
        reports: The folder of their reports.
        more: Lines below them, with as many cells.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    existing = read(experiments, reports)
    columns = ("experiment", "number", "kind", "published", "measured", "verdict", "s")
    table = Table(*columns, box=None)
    for row in rows(experiments, existing):
        claims = experiments[row.experiment].claims
        first, report = row.claim is claims[0], existing.get(row.experiment)
        if first:
            table.add_row(f"[bold]{row.experiment}[/]", experiments[row.experiment].what)
        table.add_row(
            "",
            row.claim.number,
            row.claim.kind,
            row.claim.published or getattr(row.claim, "picture", ""),
            _mean(row),
            row.verdict or "",
            f"{report['seconds']:.0f}" if report and first else "",
        )
    for name, *cells in more:
        table.add_row(f"[bold]{name}[/]", *map(escape, cells))
    Console(width=None if sys.stdout.isatty() else 200, soft_wrap=False).print(table)
    return 0


def _mean(row: Row) -> str:
    """The mean and the standard deviation of the measured values."""
    if not row.values:
        return "not measured"
    number, claim, values = row.claim.number, row.claim, row.values
    if isinstance(claim, Reproduced) and claim.exact:
        return in_words(number, values[0], 6)
    mean = math.fsum(values) / len(values)
    sd = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1))
    if sd < 1e-6 * abs(mean):
        return in_words(number, mean)
    if is_share(number):
        return f"{100 * mean:.2f} ± {100 * sd:.2f} %"
    return f"{in_words(number, mean)} ± {in_words(number, sd, 1)}"


def _interval(row: Row) -> str:
    """The interval that the verdict is about, in words."""
    claim, number = row.claim, row.claim.number
    interval = claim.interval(row.values) if row.values else None
    if interval is None or (isinstance(claim, Reproduced) and claim.exact):
        return "exact" if interval else ""
    low, high = (in_words(number, end) for end in interval)
    return f"{low.removesuffix(' %') if is_share(number) else low} to {high}"


def tables(experiments: Mapping[str, Experiment], reports: Path) -> dict[Marks, Callable[[], str]]:
    """Functions that make the tables of all reports, by the marks of their places in a page.

    They raise `InputError` if a report cannot be used; see `read` and `rows`.
    """

    def existing() -> list[Row]:
        return rows(experiments, read(experiments, reports))

    return {MARKS: lambda: in_markdown(existing()), SHORT_MARKS: lambda: in_short(existing())}


def in_short(table: Sequence[Row]) -> str:
    """The counts, the experiments whose reproduced numbers all agree, and a table of the others."""
    reproduced = [row for row in table if row.claim.kind == "reproduced"]
    others = [row for row in reproduced if row.verdict != "agrees"]
    agree = Counter(row.experiment for row in reproduced)
    for row in others:
        del agree[row.experiment]
    links = [
        f"[`{name}`](results/{name}/report.json){f' ({n})' if n > 1 else ''}"
        for name, n in agree.items()
    ]
    columns = ("experiment", "number", "published", "measured", "interval", "verdict")
    return "\n\n".join(
        [
            counted(table),
            f"All numbers of these agree: {', '.join(links)}. Those that do not:",
            _lines(
                columns,
                others,
                lambda row: (row.claim.published, _mean(row), _interval(row), _verdict(row)),
                "results",
            ),
        ]
    )


def in_markdown(table: Sequence[Row]) -> str:
    """The counts, and one table per kind of claim."""
    reproduced = [row for row in table if row.claim.kind == "reproduced"]
    improved = [row for row in table if row.claim.kind == "improved"]
    shown = [row for row in table if row.claim.kind == "shown"]
    blocks = [
        counted(table),
        "**Reproduced**: the published setting; the interval is that of one more run.",
        _lines(
            ("experiment", "number", "published", "measured", "runs", "interval", "verdict"),
            reproduced,
            lambda row: (
                row.claim.published,
                _mean(row),
                str(len(row.values) or ""),
                _interval(row),
                _verdict(row),
            ),
        ),
        "**Improved**: our own recipe; the interval is that of the mean.",
        _lines(
            ("experiment", "number", "published", "measured", "runs", "interval", "verdict",
             "what differs", "what chose it"),
            improved,
            lambda row: (
                row.claim.published,
                _mean(row),
                str(len(row.values) or ""),
                _interval(row),
                _verdict(row),
                *((row.claim.differs, row.claim.chosen) if isinstance(row.claim, Improved) else ()),
            ),
        ),
        "**Shown**: the source gives a picture and no number.",
        _lines(
            ("experiment", "number", "the source's", "measured", "runs"),
            shown,
            lambda row: (getattr(row.claim, "picture", ""), _mean(row), str(len(row.values) or "")),
        ),
    ]  # fmt: skip
    return "\n\n".join(blocks)


def _verdict(row: Row) -> str:
    if row.verdict is None:
        return ""
    return f"**{row.verdict}**" if row.verdict in ("worse", "not better") else row.verdict


def _lines(
    columns: Sequence[str], table: Sequence[Row], cells: Any, results: str = "../results"
) -> str:
    """One Markdown table; an experiment's name stands beside its first row."""
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    last = None
    for row in table:
        link = f"[`{row.experiment}`]({results}/{row.experiment}/report.json)"
        first = (link if row.values else f"`{row.experiment}`") if row.experiment != last else ""
        last = row.experiment
        lines.append(f"| {' | '.join((first, row.claim.number, *cells(row)))} |")
    return "\n".join(lines)


def summarise(report: Report, experiment: Experiment, folder: Path) -> None:
    """Print the numbers of a new report, with the verdicts of its claims."""
    if not report["published_applies"]:
        print(
            f"*** trained on {report['data']['name']}"
            + (" for another length" if "--epochs" in report["command"] else "")
            + ": the published numbers do not apply ***"
        )
    claims = {claim.number: claim for claim in experiment.claims}
    verdicts = {claim["number"]: claim for claim in report["claims"]}
    width = max(map(len, report["numbers"]))
    for number, measured in report["numbers"].items():
        sd = "" if measured["sd"] is None else f" ± {measured['sd']:.2g}"
        words = f"{number:{width}}  {measured['mean']:.6g}{sd}"
        if number in verdicts and verdicts[number]["verdict"]:
            row = Row("", claims[number], measured["values"], verdicts[number]["verdict"])
            words += f"  published {row.claim.published}: {row.verdict} ({_interval(row)})"
        print(words)
    seeds = len(experiment.seeds)
    print(f"{seeds} seeds, {report['seconds']:.0f} s; {folder}/report.json\n", flush=True)
