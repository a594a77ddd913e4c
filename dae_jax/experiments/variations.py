"""The table of Vincent et al. (ICML 2008), on data sets made to be hard: does noise help a stack?

For ``python -m dae_jax.reproduce variations``. On each set the grid of `grid.Grid` is tried; the
validation images choose one trial of each classifier, and the labels of the test images are used
once, for these. Published errors are of other draws of the same recipes: they orient.
"""

import difflib
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import jax
import numpy as np

from dae_jax import __version__, console, datasets, evaluation, figures, records
from dae_jax.datasets.variations import PREFIX, SAMPLE, SETS
from dae_jax.errors import InputError
from dae_jax.experiments.experiment import begin, declared, fingerprint
from dae_jax.experiments.grid import ARMS, Grid, Task, Trial, best, predictions, try_all
from dae_jax.figures import plots
from dae_jax.files import write_whole
from dae_jax.rows import sha256

__all__ = [
    "DEFAULT",
    "GRIDS",
    "NAME",
    "PAIRS",
    "PUBLISHED",
    "Published",
    "check_sets",
    "grid_of",
    "read",
    "run",
    "stale",
]

NAME = "variations"
DEFAULT = ("basic", "rot", "bg-rand", "rect", "convex")
"""The sets that can be made as published; the others have own backgrounds."""
SHORT = Grid(
    widths=(1000,),
    pretrain_epochs=(30,),
    rates=(0.3, 1.0),
    adam_rates=(0.0003, 0.001),
    dropouts=((0.0, 0.0), (0.2, 0.25), (0.2, 0.5)),
)
GRIDS = {name: SHORT for name in SETS} | {
    "rot": replace(SHORT, widths=(500, 1000), depths=(1, 2, 3)),
    "rect": Grid(),
}
"""The grid of each set, as it was declared before its first test error was seen. ``rect``, the
smallest, affords more trials. The depths and widths of ``rot`` are for a figure."""
PAIRS = [*(("SdA-3", arm) for arm in ARMS if arm != "SdA-3"), ("SAA-3", "random")]
"""The classifiers that are compared image by image."""
VERSION = 1
REPORT = "report.json"
N_EXAMPLES = (5, 12)


class Published(NamedTuple):
    """A published test error and the half-width of its 95 % interval, in per cent."""

    error: float
    half: float
    mark: str
    """``b``: read in a later paper that prints the same column; ``r``: recalled, unverified."""
    level: float | None = None
    """The level of corruption that was chosen."""


PUBLISHED = {
    "basic": {
        "svm": Published(3.03, 0.15, "b"),
        "SAA-3": Published(3.46, 0.16, "b"),
        "DBN-3": Published(3.11, 0.15, "b"),
        "SdA-3": Published(2.80, 0.14, "r", 0.1),
    },
    "rot": {
        "svm": Published(11.11, 0.28, "b"),
        "SAA-3": Published(10.30, 0.27, "b"),
        "DBN-3": Published(10.30, 0.27, "b"),
        "SdA-3": Published(10.29, 0.27, "r", 0.1),
    },
    "bg-rand": {
        "svm": Published(14.58, 0.31, "b"),
        "SAA-3": Published(11.28, 0.28, "b"),
        "DBN-3": Published(6.73, 0.22, "b"),
        "SdA-3": Published(10.38, 0.27, "r", 0.4),
    },
    "bg-img": {
        "svm": Published(22.61, 0.37, "b"),
        "SAA-3": Published(23.00, 0.37, "b"),
        "DBN-3": Published(16.31, 0.32, "b"),
        "SdA-3": Published(16.68, 0.33, "b", 0.25),
    },
    "bg-img-rot": {
        "svm": Published(55.18, 0.44, "b"),
        "SAA-3": Published(51.93, 0.44, "b"),
        "DBN-3": Published(47.39, 0.44, "b"),
        "SdA-3": Published(44.49, 0.44, "r", 0.25),
    },
    "rect": {
        "svm": Published(2.15, 0.13, "b"),
        "SAA-3": Published(2.41, 0.13, "b"),
        "DBN-3": Published(2.60, 0.14, "b"),
        "SdA-3": Published(1.99, 0.12, "b", 0.1),
    },
    "rect-img": {
        "svm": Published(24.04, 0.37, "b"),
        "SAA-3": Published(24.05, 0.37, "b"),
        "DBN-3": Published(22.50, 0.37, "b"),
        "SdA-3": Published(21.59, 0.36, "b", 0.25),
    },
    "convex": {
        "svm": Published(19.13, 0.34, "r"),
        "SAA-3": Published(18.41, 0.34, "r"),
        "DBN-3": Published(18.63, 0.34, "r"),
        "SdA-3": Published(19.06, 0.34, "r", 0.1),
    },
}
"""The table of the 2008 paper, with 50,000 test images of each set."""


class _Set(TypedDict):
    """The parts of a set's report that are read."""

    fingerprint: str
    rows: list[dict[str, Any]]
    differences: list[dict[str, Any]]


def check_sets(names: Sequence[str]) -> None:
    """Check the names of sets.

    Raises:
        InputError: One does not exist; the nearest name is in the error.
    """
    for name in names:
        short = name.removeprefix(PREFIX)
        if short not in SETS:
            near = difflib.get_close_matches(short, SETS, 1)
            do = f"did you mean {near[0]}?" if near else ""
            raise InputError("--sets", expected=", ".join(SETS), got=name, do=do)


def grid_of(
    name: str,
    levels: Sequence[float] | None = None,
    widths: Sequence[int] | None = None,
    epochs: int | None = None,
) -> Grid:
    """The declared grid of a set, or one to try something out.

    Args:
        name: One of `SETS`.
        levels: Levels instead of its own.
        widths: Widths instead of its own.
        epochs: The most epochs of all trainings.

    Raises:
        InputError: The levels or widths cannot be used; see `Grid.check`.
    """
    grid = GRIDS[name]
    if levels is not None:
        grid = replace(grid, levels=tuple(levels))
    if widths is not None:
        grid = replace(grid, widths=tuple(widths))
    if epochs is not None:
        grid = replace(grid, epochs=epochs, pretrain_epochs=(epochs,))
    grid.check()
    return grid


def run(
    name: str,
    grid: Grid,
    folder: Path,
    command: str,
    *,
    sample: bool = False,
    resume: bool = True,
) -> bool:
    """Try the grid on one set, test the chosen classifiers, and add them to the report.

    Args:
        name: One of `SETS`.
        grid: Its grid.
        folder: That of the report and its figures; finished trials are kept in it until the set is.
        command: The command, for the record.
        sample: Whether to use the sample of MNIST, where a set is made of digits.
        resume: Whether to use the finished trials of an interrupted run.

    Returns:
        False after Ctrl-C.

    Raises:
        InputError: MNIST is not available, and the sample is not asked for; or the report that is
            there cannot be read.
    """
    began = time.perf_counter()
    existing = read(folder)
    full = PREFIX + name
    dataset = datasets.load(full + SAMPLE if sample and SETS[name].digits else full)
    if dataset.name != full and not sample:
        raise InputError(
            f"data of {full}",
            expected="the 70,000 digits of MNIST, for the published sizes",
            got="none: " + dataset.notices[0],
            do="set DAE_JAX_DATA to a folder with its four files, or add --data mnist-sample",
        )
    print(*dataset.notices, sep="\n", end="\n" if dataset.notices else "")
    training = folder / "training" / name
    images = sha256(*(part.images for part in dataset.parts))
    declares = {"data": dataset.name, "grid": declared(grid), "images": images}
    if not resume:
        shutil.rmtree(training, ignore_errors=True)
    begin(training, declares)
    task = Task(dataset, grid, training, command)
    trials = try_all(task)
    if trials is None:
        return False
    report = _tested(task, trials) | {
        "data": dataset.name,
        "sizes": [len(part.images) for part in dataset.parts],
        "own_backgrounds": SETS[name].photographs,
        "declaration": declares,
        "fingerprint": fingerprint(declares),
        "trials": [asdict(trial) for trial in trials],
        "command": command,
        "seconds": round(time.perf_counter() - began, 1),
        "device": jax.devices()[0].device_kind,
        "processor": console.processor(),
        "versions": {"dae_jax": __version__, "jax": jax.__version__},
    }
    sets = existing | {name: report}
    ordered = {one: sets[one] for one in SETS if one in sets}
    whole = {"version": VERSION, "grid": NAME, "sets": ordered}
    _draw(task, name, ordered, folder)
    write_whole(folder / REPORT, json.dumps(whole, indent=1) + "\n")
    shutil.rmtree(training, ignore_errors=True)
    for row in report["rows"]:
        low, high = (f"{100 * end:.2f}" for end in row["interval"])
        print(f"{name}, {row['arm']}: test error {row['test_error']:.2%}, {low} to {high} %")
    return True


def read(folder: Path) -> dict[str, Any]:
    """The reports of all sets that are there, by name.

    Raises:
        InputError: The file cannot be read, or is of another version.
    """
    path = folder / REPORT
    if not os.path.exists(path):  # `Path.exists` raises for a name that no folder can have
        return {}
    do = "remove it, and make it again: python -m dae_jax.reproduce variations"
    report = records.load(path, dict[str, Any], do)
    if report.get("version") != VERSION or report.get("grid") != NAME:
        raise InputError(
            path, expected=f"a report of version {VERSION}", got=report.get("version"), do=do
        )
    records.checked(report.get("sets"), dict[str, _Set], str(path), do)
    return report["sets"]


def stale(name: str, report: dict[str, Any]) -> bool:
    """Whether the report of a set is of another grid than the one that is declared today."""
    return report["declaration"]["grid"] != declared(GRIDS[name])


def _tested(task: Task, trials: Sequence[Trial]) -> dict[str, Any]:
    """The rows of the chosen trials, and the paired differences between the SdA and the others."""
    labels = task.dataset.test.labels
    assert labels is not None
    chosen = {arm: best([t for t in trials if of(t)]) for arm, of in ARMS.items()}
    predicted = {arm: predictions(task, trial) for arm, trial in chosen.items()}
    rows = []
    for arm, trial in chosen.items():
        wrong = int(np.sum(predicted[arm] != labels))
        own = [t for t in trials if ARMS[arm](t)]
        rows.append(
            {
                "arm": arm,
                "trials": len(own),
                "choices": trial.choices,
                "at_border": _at_border(trial, own),
                "valid_error": trial.valid_error,
                "best_epoch": trial.best_epoch,
                "test_error": wrong / len(labels),
                "interval": list(evaluation.error_interval(wrong, len(labels))),
            }
        )
    return {
        "rows": rows,
        "differences": [_difference(labels, predicted, *pair) for pair in PAIRS],
    }


def _difference(
    labels: np.ndarray, predicted: dict[str, np.ndarray], one: str, other: str
) -> dict[str, Any]:
    """The error that one classifier saves against another, with McNemar's test and an interval.

    With b and c images that only one of them classifies correctly, the error saved is
    (b - c) / n, and its standard error sqrt(b + c - (b - c)^2 / n) / n.
    """
    b, c, p = evaluation.mcnemar(labels, predicted[one], predicted[other])
    n = len(labels)
    half = 1.96 * np.sqrt(b + c - (b - c) ** 2 / n) / n
    mean = (b - c) / n
    return {
        "arm": one,
        "against": other,
        "saves": mean,
        "interval": [mean - half, mean + half],
        "mcnemar": {"b": b, "c": c, "p": p},
    }


def _at_border(chosen: Trial, trials: Sequence[Trial]) -> list[str]:
    """The choices whose best value is the smallest or the largest of more than two."""
    names = []
    for name, value in chosen.choices.items():
        values = sorted({trial.choices[name] for trial in trials})
        if len(values) > 2 and value in (values[0], values[-1]):
            names.append(name)
    return names


def _draw(task: Task, name: str, sets: dict[str, Any], folder: Path) -> None:
    """The examples of a set, the table of all sets as a diagram, and errors over the level."""
    about = {"dae_jax": __version__, "data": task.dataset.name}
    images = task.dataset.train.images[: N_EXAMPLES[0] * N_EXAMPLES[1]].reshape(-1, 28, 28)
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1)), constant_values=96).reshape(len(images), -1)
    sheet = figures.tile(framed / 255, (30, 30), N_EXAMPLES, scale_rows_to_unit_interval=False)
    figures.save_png(folder / f"examples_{name}.png", sheet, about, zoom=2)
    plots.save(folder / "errors.png", plots.comparison(*_errors(sets)), about)
    curves = _over_levels(sets[name]["trials"])
    if len(task.grid.depths) > 1:
        title = f"Lowest validation error at each level of masking, {task.dataset.name}"
        figure = plots.lines(curves, "level of masking", "validation error (%)", title)
        plots.save(folder / f"levels_{name}.png", figure, about)


def _errors(sets: dict[str, Any]) -> tuple[dict[str, Any], list[str], str]:
    """The panels of `plots.comparison`: one for each set."""
    ways = ["here", "published, on another draw", "-"]
    panels: dict[str, Any] = {}
    for name, report in sets.items():
        panel: dict[str, Any] = {arm: {} for arm in (*ARMS, "DBN-3")}
        for row in report["rows"]:
            half = (row["interval"][1] - row["interval"][0]) / 2
            panel[row["arm"]][ways[0]] = (row["test_error"], half)
        for arm, published in PUBLISHED[name].items():
            panel[arm][ways[1]] = (published.error / 100, published.half / 100)
        panels[name + (", own backgrounds" if report["own_backgrounds"] else "")] = panel
    return panels, ways, "Test errors with 95 % intervals of the test images"


def _over_levels(trials: Sequence[dict[str, Any]]) -> dict[str, dict[float, float]]:
    """The lowest validation error, in per cent, by depth and width and then by level."""
    curves: dict[str, dict[float, float]] = {}
    for trial in trials:
        if trial["arm"] != "stack":
            continue
        how, error = trial["choices"], 100 * trial["valid_error"]
        layers = f"{how['depth']:g} layer{'s' if how['depth'] > 1 else ''} of {how['width']:,g}"
        curve = curves.setdefault(layers, {})
        curve[how["level"]] = min(error, curve.get(how["level"], 100.0))
    return curves
