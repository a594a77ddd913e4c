"""The reports of all experiments: their check, their list, and the table of the README."""

import json
import sys
from pathlib import Path
from typing import Any

from dae_jax.errors import InputError
from dae_jax.experiments.experiment import Claim, Experiment, in_words, is_share
from dae_jax.files import write_whole

__all__ = ["MARKS", "PROG", "check", "in_markdown", "put_table", "read", "show", "summarise"]

PROG = "python -m dae_jax.reproduce"
"""The command that makes the reports."""
MARKS = (
    "<!-- results: made by python -m dae_jax.reproduce --table README.md -->",
    "<!-- end of results -->",
)
"""The lines of a Markdown file between which the table is written."""


def read(experiments: dict[str, Experiment], reports: Path) -> dict[str, dict[str, Any]]:
    """Read the existing reports, by experiment.

    Raises:
        InputError: A report cannot be read.
    """
    existing = {}
    for name in experiments:
        path = reports / name / "report.json"
        if path.exists():
            try:
                existing[name] = json.loads(path.read_text())
                _ = existing[name]["claims"], existing[name]["numbers"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"cannot read {path}: {error!r}", do=f"make it again: {PROG} {name}"
                ) from error
    return existing


def check(experiments: dict[str, Experiment], reports: Path) -> int:
    """Compare the existing reports with the declared bands.

    Returns:
        The exit status: 1 if a number lies outside its band, else 0.

    Raises:
        InputError: There is no report, or one lacks a claimed number.
    """
    existing = read(experiments, reports)
    if not existing:
        raise InputError(
            "--check",
            expected=f"reports in {reports}",
            got="none",
            do=f"run {PROG} --all, or name an experiment",
        )
    missed = 0
    for name, report in existing.items():
        for claim in experiments[name].claims:
            value = _value(report, name, claim)
            if not claim.holds(value):
                exactly = f"{100 * value:.5g} %" if is_share(claim.number) else f"{value:.6g}"
                print(f"{name}: {claim.number} is {exactly}, not {claim.band}")
                missed += 1
    total = sum(len(experiments[name].claims) for name in existing)
    print(f"{total - missed} of {total} numbers of {len(existing)} experiments lie in their bands")
    return 1 if missed else 0


def show(experiments: dict[str, Experiment], reports: Path) -> int:
    """Print the list of experiments: what, published, measured, band, time."""
    from rich.console import Console
    from rich.table import Table

    existing = read(experiments, reports)
    table = Table(*("experiment", "number", "published", "measured", "band", "s"), box=None)
    for name, experiment in experiments.items():
        table.add_row(f"[bold]{name}[/]", experiment.what, style="cyan")
        report = existing.get(name)
        for claim in experiment.claims:
            seconds = f"{report['seconds']:.0f}" if report and claim is experiment.claims[0] else ""
            table.add_row(
                "",
                claim.number,
                claim.published,
                _measured(report, claim),
                claim.band,
                seconds,
            )
    Console(width=None if sys.stdout.isatty() else 160, soft_wrap=False).print(table)
    return 0


def _value(report: dict[str, Any], name: str, claim: Claim) -> float:
    """The value of a claimed number in a report.

    Raises:
        InputError: It is missing, since the report is older than the claim.
    """
    if claim.number not in report["numbers"]:
        raise InputError(
            f"report of {name}",
            expected=f"the number {claim.number!r}",
            got="none",
            do=f"make it again: {PROG} {name}",
        )
    return claim.value(report["numbers"][claim.number])


def _measured(report: dict[str, Any] | None, claim: Claim) -> str:
    number = claim.number
    if report is None or number not in report["numbers"]:
        return "not run"
    numbers = report["numbers"][number]
    value, sd = claim.value(numbers), numbers["sd"] or 0.0
    if claim.of == "first" or sd < 1e-6 * abs(value):
        return in_words(number, value, 7 if claim.of == "first" else 4)
    unit = " %" if is_share(number) else ""
    return f"{in_words(number, value).removesuffix(unit)} ± {in_words(number, sd, 1)}"


def put_table(path: Path, experiments: dict[str, Experiment], reports: Path) -> int:
    """Write the table of all reports between its two marks in a Markdown file.

    Raises:
        InputError: No such file, or no marks in it; or a report lacks a claimed number.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise InputError(f"--table: cannot read {path}: {error.strerror}") from error
    begin, end = MARKS
    if text.count(begin) != 1 or text.count(end) != 1:
        raise InputError(
            f"--table: {path}", expected=f"the lines {begin!r} and {end!r}", got="none"
        )
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    table = in_markdown(experiments, read(experiments, reports))
    write_whole(path, f"{before}{begin}\n{table}{end}{after}")
    return 0


def in_markdown(experiments: dict[str, Experiment], existing: dict[str, dict[str, Any]]) -> str:
    """The table of all reports, one row per claim."""
    lines = ["| experiment | number | published | measured | band |", "|---|---|---|---|---|"]
    for name, report in existing.items():
        for i, claim in enumerate(experiments[name].claims):
            first = f"[`{name}`](results/{name}/report.json)" if not i else ""
            value = _value(report, name, claim)
            measured = _measured(report, claim)
            if not claim.holds(value):
                measured = f"**{measured}**"
            lines.append(
                f"| {first} | {claim.number} | {claim.published} | {measured} | {claim.band} |"
            )
    return "\n".join(["", *lines, "", ""])


def summarise(report: dict[str, Any], folder: Path) -> None:
    """Print the numbers of a new report, with the claims that they meet."""
    if not report["published_applies"]:
        print(
            f"*** trained on {report['data']['name']}"
            + (" for another length" if "--epochs" in report["command"] else "")
            + ": the published numbers do not apply ***"
        )
    width = max(map(len, report["numbers"]))
    claims = {claim["number"]: claim for claim in report["claims"]}
    for number, measured in report["numbers"].items():
        sd = "" if measured["sd"] is None else f" ± {measured['sd']:.2g}"
        words = f"{number:{width}}  {measured['mean']:.6g}{sd}"
        if number in claims and report["published_applies"]:
            claim = claims[number]
            verdict = "yes" if claim["holds"] else "NO"
            words += f"  published {claim['published']}; within {claim['band']}: {verdict}"
        print(words)
    seeds = report["seeds"]
    print(f"{len(seeds)} seeds, {report['seconds']:.0f} s; {folder}/report.json\n", flush=True)
