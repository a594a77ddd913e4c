"""The report of ``pretrain --compare``: paired differences, warnings, tables and the figure."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dae_jax.evaluation import mcnemar, mean_interval
from dae_jax.figures import plots
from dae_jax.runs.arms import ARMS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Result", "differences", "figure", "line", "print_tables", "warnings"]

Row = Mapping[str, Any]
LEVEL = 0.05  # of McNemar's test


class Result(NamedTuple):
    """One arm at one number of labels, whose rate and epoch are chosen in one way."""

    row: dict[str, Any]  # of the report
    predicted: np.ndarray  # (seeds, images), classes of the test images


def differences(results: Sequence[Result], truth: np.ndarray) -> list[dict[str, Any]]:
    """The test error that pretraining saves against each of the other arms, paired by seed.

    The interval is Student's t of the differences within the seeds, which share their labelled
    images. McNemar's exact test is made for each seed: `b` images that only the pretrained network
    classifies correctly, `c` that only the other one does, and the p-value.

    Args:
        results: All results.
        truth: The classes of the test images.
    """
    gains = []
    for ours in results:
        if ours.row["arm"] != "pretrained":
            continue
        labels, by = ours.row["labels"], ours.row["validation"]
        for other in results:
            same = other.row["labels"] == labels and other.row["validation"] in (by, "none")
            if not same or other is ours:
                continue
            errors = np.array(other.row["test_errors"]) - ours.row["test_errors"]
            mean, half = mean_interval(errors)
            pairs = zip(ours.predicted, other.predicted, strict=True)
            tests = [mcnemar(truth, mine, theirs) for mine, theirs in pairs]
            gains.append(
                {
                    "labels": labels,
                    "validation": by,
                    "arm": other.row["arm"],
                    "mean": mean,
                    "interval": [mean - half, mean + half],
                    "mcnemar": [{"b": b, "c": c, "p": p} for b, c, p in tests],
                    "seeds_for": sum(p < LEVEL and b > c for b, c, p in tests),
                    "seeds_against": sum(p < LEVEL and b < c for b, c, p in tests),
                }
            )
    return gains


def warnings(rows: Sequence[Row]) -> list[str]:
    """A line for each network whose training might have to go on, or at another rate."""
    lines = []
    for row in rows:
        name = f"warning: {_name(row)}"
        if not row.get("ended", True):
            lines.append(
                f"{name}: --cap ended the training, not patience; compare again with a larger --cap"
            )
        if row.get("at_border"):
            lines.append(
                f"{name}: the best rate, {row['rate']:g}, is the last one that was tried of "
                + " ".join(f"{rate:g}" for rate in row["rates"])
            )
    return lines


def line(row: Row) -> str:
    """The test error of a row, and what it was chosen by."""
    low, high = row["test_interval"]
    words = (
        f"{_name(row)}: test error {row['test_mean']:.2%}, 95 % interval {low:.2%} to {high:.2%}"
    )
    if row["validation"] == "none":
        return words
    valid = np.mean(row["valid_errors"])
    return f"{words} (rate {row['rate']:g}, validation error {valid:.2%})"


def _name(row: Row) -> str:
    name = f"{row['labels']} labels, {row['arm']}"
    return name if row["validation"] == "none" else f"{name}, {_chosen_by(row)}"


def _chosen_by(row: Row) -> str:
    return f"chosen by {row['validation_images']:,} images"


def print_tables(report: Mapping[str, Any]) -> None:
    """Print a table for each number of labels and each way to choose, 100 columns wide."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    rows = report["rows"]
    gains = {(d["labels"], d["validation"], d["arm"]): d for d in report["differences"]}
    for labels in dict.fromkeys(row["labels"] for row in rows):
        own = [row for row in rows if row["labels"] == labels]
        chosen = {row["validation"]: row for row in own if row["validation"] != "none"}
        for by in chosen or ["none"]:
            title = f"{labels} labels" + (f", {_chosen_by(chosen[by])}" if chosen else "")
            table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
            table.add_column("network", no_wrap=True)
            for heading in ("rate", "error (%)", "95 % interval", "pretrained gains"):
                table.add_column(heading, justify="right")
            table.add_column("McNemar")
            for row in own:
                if row["validation"] in (by, "none"):
                    table.add_row(*_cells(row, gains.get((labels, by, row["arm"]))))
            Console(width=100, highlight=False).print(table)
    print(
        f"test errors on {report['data']}, means of {len(report['seeds'])} seeds; what pretraining "
        "gains is paired by seed, with its\n95 % interval; McNemar: the seeds for and against "
        f"pretraining of p < {LEVEL:g}"
    )


def _cells(row: Row, gain: Row | None) -> list[str]:
    low, high = row["test_interval"]
    cells = [
        row["arm"],
        f"{row['rate']:g}" if "rate" in row else "",
        f"{100 * row['test_mean']:.2f}",
        f"{100 * low:.2f} to {100 * high:.2f}",
    ]
    if gain is None:
        return cells
    half = gain["mean"] - gain["interval"][0]
    seeds = f"{gain['seeds_for']} for, {gain['seeds_against']} against"
    return [*cells, f"{100 * gain['mean']:.2f} ± {100 * half:.2f}", seeds]


def figure(report: Mapping[str, Any]) -> "Figure":
    """The test errors of all arms, one panel for each number of labels."""
    ways = {
        "all": f"rate and epoch chosen by all {report['validation_images']:,} validation images",
        "few": "rate and epoch chosen by as many of them as there are labels to learn from",
        "none": "no validation images used",
    }
    panels: dict[str, dict[str, dict[str, tuple[float, float]]]] = {}
    for row in report["rows"]:
        budget = row["labels"]
        number = budget if budget == "all" else f"{budget:,}"
        panel = panels.setdefault(f"{number} labels", {})
        estimate = mean_interval(row["test_errors"])
        panel.setdefault(ARMS[row["arm"]].title, {})[ways[row["validation"]]] = estimate
    title = (
        f"Test error on {report['data']}: mean and 95 % interval of {len(report['seeds'])} seeds"
    )
    return plots.comparison(panels, list(ways.values()), title, same_scale=True)
