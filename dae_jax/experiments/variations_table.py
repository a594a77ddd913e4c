"""The tables of ``reproduce variations`` in Markdown, and their check."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dae_jax.experiments.pages import Marks
from dae_jax.experiments.variations import DEFAULT, NAME, PAIRS, PUBLISHED, Published, read, stale

__all__ = ["DIFFERENCES", "ERRORS", "differences", "errors", "faults", "lines", "tables"]

ERRORS = (
    "<!-- variations: made by python -m dae_jax.reproduce --table README.md docs/results.md -->",
    "<!-- end of variations -->",
)
"""The lines of a Markdown file between which the test errors stand."""
DIFFERENCES = (
    "<!-- differences: made by python -m dae_jax.reproduce --table docs/results.md -->",
    "<!-- end of differences -->",
)
"""The same for the errors that one classifier saves against another."""
TITLES = {
    "svm": "SVM, RBF kernel",
    "SAA-3": "SAA-3, no noise",
    "SdA-3": "SdA-3, noise",
    "random": "without pretraining",
    "rectifiers": "ReLU, Adam, dropout",
}
LEVEL = 0.05  # of McNemar's test


def tables(folder: Path) -> dict[Marks, Callable[[], str]]:
    """The functions that make the tables of the report in a folder, by their marks in a page."""
    return {
        ERRORS: lambda: errors(read(folder)),
        DIFFERENCES: lambda: differences(read(folder)),
    }


def errors(sets: Mapping[str, Any]) -> str:
    """Each set's test errors above the published ones; intervals and levels as in the paper."""
    if not sets:
        return "Not measured yet."
    head = ["set", *TITLES.values(), "DBN-3"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name, report in sets.items():
        rows = {row["arm"]: row for row in report["rows"]}
        title = f"**{name}**" + (", own backgrounds" if report["own_backgrounds"] else "")
        lines.append(f"| {title} | {' | '.join(_measured(rows[arm]) for arm in TITLES)} | |")
        published = [_published(PUBLISHED[name].get(arm)) for arm in (*TITLES, "DBN-3")]
        lines.append(f"| published | {' | '.join(published)} |")
    return "\n".join(lines)


def differences(sets: Mapping[str, Any]) -> str:
    """The errors that noise and pretraining save on each set."""
    if not sets:
        return ""
    saved = [f"| set | {' | '.join(_pair(pair) for pair in PAIRS)} |", "|" + "---|" * 6]
    for name, report in sets.items():
        found = {(d["arm"], d["against"]): d for d in report["differences"]}
        saved.append(f"| {name} | {' | '.join(_saves(found[pair]) for pair in PAIRS)} |")
    return "\n".join(saved)


def lines(folder: Path) -> list[tuple[str, ...]]:
    """The lines of the list of experiments, see `reports.show`: one for each set and classifier.

    Raises:
        InputError: The report in this folder cannot be read.
    """
    sets = read(folder)
    found = [(NAME, "five classifiers on data sets made to be hard", *[""] * 5)]
    for name in dict.fromkeys((*DEFAULT, *sets)):
        rows = {row["arm"]: row for row in sets[name]["rows"]} if name in sets else {}
        seconds = f"{sets[name]['seconds']:.0f}" if name in sets else ""
        for arm in TITLES:
            measured = _measured(rows[arm]) if arm in rows else "not measured"
            published = _published(PUBLISHED[name].get(arm))
            number = f"{name}, {arm}: test error, %"
            found.append(("", number, "shown", published, measured, "", seconds))
            seconds = ""
    return found


def _pair(pair: Sequence[str]) -> str:
    return f"{pair[0]} instead of {pair[1]}"


def _measured(row: Mapping[str, Any]) -> str:
    half = 50 * (row["interval"][1] - row["interval"][0])
    level = row["choices"].get("level")
    return f"{100 * row['test_error']:.2f}±{half:.2f}{_at(level)}"


def _published(published: Published | None) -> str:
    if published is None:
        return ""
    return f"{published.error:.2f}±{published.half:.2f}{_at(published.level)} [{published.mark}]"


def _at(level: float | None) -> str:
    return f" ({100 * level:g}%)" if level else ""


def _saves(difference: Mapping[str, Any]) -> str:
    """Points of error saved, in bold if McNemar's test finds a difference."""
    half = 50 * (difference["interval"][1] - difference["interval"][0])
    words = f"{100 * difference['saves']:+.2f}±{half:.2f}"
    return f"**{words}**" if difference["mcnemar"]["p"] < LEVEL else words


def faults(folder: Path) -> list[str]:
    """A line for each set whose report is of another grid than the one that is declared today."""
    return [
        f"{NAME}, {name}: the report is of another grid than declared today; "
        f"run python -m dae_jax.reproduce {NAME} --sets {name}"
        for name, report in read(folder).items()
        if stale(name, report)
    ]
