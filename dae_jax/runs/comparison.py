"""The comparison of ``python -m dae_jax.pretrain --compare``: does pretraining help?

For every number of labels and every seed, the classifiers of `arms` learn from the same labelled
images. Those that are fine-tuned train until their patience ends, at several learning rates; if
the best one is the smallest or the largest, others beyond it are tried. Rate and epoch are chosen
twice, in the same trainings:

- ``all``: by the mean error on all validation images;
- ``few``: by that on as many of them as there are labels to learn from, since a user with few
  labels has no more.

The labels of the test images are used once, with that choice. Pretrained and other classifiers are
compared seed by seed, by their errors and, with McNemar's test, image by image.
"""

import io
import json
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from dae_jax import __version__
from dae_jax.evaluation import mean_interval
from dae_jax.figures import plots
from dae_jax.files import write_whole
from dae_jax.runs import arms, comparison_report, from_run, shifts
from dae_jax.runs.arms import ARMS, Network, Task, Trial
from dae_jax.runs.comparison_report import Result
from dae_jax.runs.run import Run
from dae_jax.settings import shared
from dae_jax.settings.pretrain import Arm, Settings

__all__ = ["beyond", "chosen", "run", "search"]

VALIDATION = ("all", "few")
"""The validation sets of `arms.Task`, by which rate and epoch are chosen; ``none`` is of others."""
FURTHEST = 100
"""Factor beyond the rates of the settings that is tried at most."""


def run(run: Run[Settings]) -> dict[str, Any] | None:
    """Compare, print tables, and write ``compare.json`` and ``compare.png``; None after Ctrl-C."""
    s, dataset = run.settings, run.dataset
    names = s.comparison.possible(shifts=shifts.candidates(dataset.image_shape) != [0])
    left_out = [name for name in s.comparison.arms if name not in names]
    if left_out:
        print(f"{', '.join(left_out)} left out: the images are too small to be shifted")
    layers = arms.layers(run, names)
    if layers is None:
        return None
    results: list[Result] = []
    for budget in dict.fromkeys(s.comparison.labels):
        for name in names:
            own = _results(Task(run, budget, layers), name)
            if own is None:
                return None
            results += own
            print(*(comparison_report.line(result.row) for result in own), sep="\n", flush=True)
    origin, (_, truth) = from_run.origin(run), dataset.test
    pretrained_here = "pretrained" in layers and not origin
    assert truth is not None
    report = {
        "dae_jax": __version__,
        "command": run.command,
        "data": dataset.name,
        "instead_of_mnist": run.instead_of_mnist,
        "pretraining_images": len(dataset.pretraining_images) if pretrained_here else 0,
        "validation_images": len(dataset.valid.images),
        "test_images": len(dataset.test.images),
        "seeds": s.seeds,
        "device": jax.devices()[0].device_kind,
        "rows": [result.row for result in results],
        "differences": comparison_report.differences(results, truth),
        "warnings": comparison_report.warnings([result.row for result in results]),
        "config": shared.to_json(s),
        **origin,
    }
    write_whole(run.folder / "compare.json", json.dumps(report, indent=2) + "\n")
    about = {"dae_jax": __version__, "command": run.command}
    plots.save(run.folder / "compare.png", comparison_report.figure(report), about)
    comparison_report.print_tables(report)
    print(
        *report["warnings"],
        f"{run.folder / 'compare.json'}, {run.folder / 'compare.png'}",
        sep="\n",
    )
    return report


def _results(task: Task, name: Arm) -> list[Result] | None:
    """Train an arm, and test it as each of the validation sets chooses; None after Ctrl-C."""
    arm = ARMS[name]
    if isinstance(arm, Network):
        trials = search(task, name, arm.rates(task.run.settings))
        if trials is None:
            return None
        each = zip(VALIDATION, task.validation, strict=False)
        choices = [
            (by, *chosen(trials, i, len(valid.images))) for i, (by, valid) in enumerate(each)
        ]
    else:
        trial = arms.train(task, name)
        if trial is None:
            return None
        choices = [("none", {"validation_images": 0}, trial.predicted[0])]
    results = []
    for by, numbers, predicted in choices:
        row = {"labels": task.budget, "arm": name, "validation": by, **numbers}
        row |= _tested(predicted, task.run.dataset.test.labels)
        _write(task, Result(row, predicted))
        results.append(Result(row, predicted))
    return results


def search(task: Task, name: Arm, rates: Sequence[float]) -> dict[float, Trial] | None:
    """Train at these rates, and beyond them while the best one is the smallest or the largest.

    Args:
        task: See `arms.train`, as for `name`.
        rates: Learning rates.

    Returns:
        The trials by their rates, the smallest first; None after Ctrl-C.
    """
    trials: dict[float, Trial] = {}
    wanted = set(rates)
    while wanted:
        for rate in sorted(wanted):
            trial = arms.train(task, name, rate)
            if trial is None:
                return None
            trials[rate] = trial
        trials = {rate: trials[rate] for rate in sorted(trials)}
        n_sets = len(next(iter(trials.values())).valid_errors)
        best = {_best(trials, i) for i in range(n_sets)}
        wanted = {beyond(min(trials), -1)} if min(trials) in best else set()
        wanted |= {beyond(max(trials), 1)} if max(trials) in best else set()
        low, high = min(rates) / FURTHEST, max(rates) * FURTHEST
        wanted = {rate for rate in wanted if 0.99 * low < rate < 1.01 * high}
    return trials


def beyond(rate: float, direction: int) -> float:
    """The next rate of the series 1, 3, 10, ..., about three times as large or as small.

    Args:
        rate: A learning rate.
        direction: 1 for a larger one, -1 for a smaller one.

    >>> beyond(10.0, 1), beyond(0.1, -1), beyond(0.5, 1)
    (30.0, 0.03, 1.0)
    """
    half_decades = round(2 * math.log10(rate * 3.0**direction))
    return float(f"{(1, 3)[half_decades % 2]}e{half_decades // 2}")


def _best(trials: dict[float, Trial], i: int) -> float:
    """The rate of the lowest mean error on validation set i, the smallest of equals."""
    return min(trials, key=lambda rate: trials[rate].valid_errors[i].mean())


def chosen(trials: dict[float, Trial], i: int, n_images: int) -> tuple[dict[str, Any], np.ndarray]:
    """The choice of validation set i, of so many images: numbers for the report, predictions."""
    rate = _best(trials, i)
    trial = trials[rate]
    return {
        "validation_images": n_images,
        "rates": list(trials),
        "valid_errors_of_rates": [other.valid_errors[i].tolist() for other in trials.values()],
        "rate": rate,
        "at_border": rate in (min(trials), max(trials)),
        "valid_errors": trial.valid_errors[i].tolist(),
        "best_epochs": trial.best_epochs[i].tolist(),
        "ended": bool(trial.ended[i]),
    }, trial.predicted[i]


def _tested(predicted: np.ndarray, truth: np.ndarray | None) -> dict[str, Any]:
    errors = (predicted != truth).mean(axis=1).tolist()
    mean, half = mean_interval(errors)
    return {
        "test_errors": errors,
        "test_mean": mean,
        "test_sd": float(np.std(errors, ddof=1)),
        "test_interval": [max(0.0, mean - half), min(1.0, mean + half)],
    }


def _write(task: Task, result: Result) -> None:
    """Write a row of the report, and the predictions that it is computed from."""
    folder = task.folder / result.row["arm"] / f"by_{result.row['validation']}"
    buffer = io.BytesIO()
    np.save(buffer, result.predicted)
    write_whole(folder / "predicted.npy", buffer.getvalue())
    write_whole(folder / "row.json", json.dumps(result.row, indent=2) + "\n")
