"""The comparison of ``python -m dae_jax.pretrain --compare``: does pretraining help?

For every number of labels and every seed, three classifiers learn from the same labelled images:

- *pretrained*: the stack, pretrained on all images without labels, all its layers fine-tuned;
- *random*: the same network from the weights that pretraining began with;
- *frozen*: the pretrained stack unchanged, with a softmax layer on its codes.

All have the same budget (epochs, patience, minibatches); each has its own learning rate, chosen by
the mean error on the validation images. The test images are used once, with that choice.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dae_jax import __version__, evaluation, stacked
from dae_jax.autoencoder import AnyParams
from dae_jax.datasets import Dataset, Split
from dae_jax.datasets.labels import evenly
from dae_jax.evaluation import mean_interval
from dae_jax.figures import plots
from dae_jax.files import write_whole
from dae_jax.runs import from_run, stack
from dae_jax.runs.run import Run
from dae_jax.runs.stack import Tuned
from dae_jax.settings import shared
from dae_jax.settings.pretrain import Settings

__all__ = ["ARMS", "differences", "run"]

ARMS = ("pretrained", "random", "frozen")
"""The three classifiers that are compared."""
LEAST_UPDATES = 200  # between two looks at the validation images: few labels are repeated


def run(run: Run[Settings]) -> dict[str, Any] | None:
    """Compare, print a table, and write ``compare.json`` and ``compare.png``; None after Ctrl-C."""
    s = run.settings
    pretrained = stack.pretrain(run)
    if pretrained is None:
        return None
    random = stack.initial_layers(s, run.dataset.pretraining_images.shape[1])
    rows = []
    for budget in s.comparison.labels:
        for arm in ARMS:
            row = _row(run, budget, arm, random if arm == "random" else pretrained)
            if row is None:
                return None
            rows.append(row)
            print(_line(row), flush=True)
    origin = from_run.origin(run)
    report = {
        "dae_jax": __version__,
        "command": run.command,
        "data": run.dataset.name,
        "instead_of_mnist": run.instead_of_mnist,
        "pretraining_images": 0 if origin else len(run.dataset.pretraining_images),
        "validation_images": len(run.dataset.valid.images),
        "test_images": len(run.dataset.test.images),
        "seeds": s.seeds,
        "device": jax.devices()[0].device_kind,
        "rows": rows,
        "differences": [gain for b in s.comparison.labels for gain in differences(rows, b)],
        "config": shared.to_json(s),
        **origin,
    }
    write_whole(run.folder / "compare.json", json.dumps(report, indent=2) + "\n")
    arms = {
        arm: [mean_interval(row["test_errors"]) for row in rows if row["arm"] == arm]
        for arm in ARMS
    }
    figure = plots.comparison([str(budget) for budget in s.comparison.labels], arms)
    about = {"dae_jax": __version__, "command": run.command}
    plots.save(run.folder / "compare.png", figure, about)
    _print_table(report)
    print(f"{run.folder / 'compare.json'}, {run.folder / 'compare.png'}")
    return report


def _row(
    run: Run[Settings], budget: int | str, arm: str, layers: Sequence[AnyParams]
) -> dict[str, Any] | None:
    """Train one network at every learning rate, for all seeds at once; choose one, and test it."""
    folder = run.folder / "compare" / f"labels_{budget}_{arm}"
    file = folder / "row.json"
    if run.finished(file):
        return json.loads(file.read_text())
    rates = run.settings.comparison.rates
    dataset = _labelled(run.dataset, budget, run.settings)
    trials: list[Tuned] = []
    for rate in rates:
        tuned = stack.finetune(
            replace(run.settings.finetuning, finetune_learning_rate=rate, freeze=arm == "frozen"),
            layers,
            dataset,
            stack.keys(run.settings.seeds, len(layers)),
            run.pixel_scale,
            run.place(f"{budget} labels, {arm}, rate {rate:g}", folder / f"rate_{rate:g}"),
        )
        if tuned is None:
            return None
        trials.append(tuned)
    row = {"labels": budget, "arm": arm} | _chosen(trials, rates, run.dataset, run.pixel_scale)
    write_whole(file, json.dumps(row, indent=2) + "\n")
    _remove_checkpoints(folder)
    return row


def _labelled(dataset: Dataset, budget: int | str, settings: Settings) -> Dataset:
    """The data set with so many labelled images: each seed's own draw, unless all are used."""
    images, labels = dataset.train
    assert labels is not None
    if budget == "all":
        return dataset
    least = LEAST_UPDATES * min(settings.finetuning.finetune_batch_size, int(budget))
    draws = [evenly(labels, int(budget), seed) for seed in settings.seeds]
    repeated = np.stack([np.tile(draw, -(-least // len(draw))) for draw in draws])
    return dataset._replace(train=Split(images[repeated], labels[repeated]))


def _chosen(
    trials: Sequence[Tuned], rates: Sequence[float], dataset: Dataset, pixel_scale: float
) -> dict[str, Any]:
    """The numbers of the trial with the lowest mean validation error, tested once."""
    rules = [trial.rule for trial in trials if trial.rule is not None]
    valid = [rule.best_error for rule in rules]
    best = int(np.argmin([errors.mean() for errors in valid]))
    images, labels = dataset.test
    assert labels is not None
    test_errors = [
        evaluation.error_rate(stacked.logits, model, images, labels, pixel_scale)
        for model in trials[best].models
    ]
    mean, half = mean_interval(test_errors)
    return {
        "rates": list(rates),
        "valid_errors_of_rates": [errors.tolist() for errors in valid],
        "rate": rates[best],
        "valid_errors": valid[best].tolist(),
        "test_errors": test_errors,
        "best_epochs": rules[best].best_epoch.tolist(),
        "test_mean": mean,
        "test_sd": float(np.std(test_errors, ddof=1)),
        "test_interval": [mean - half, mean + half],
    }


def _remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of finished trials, which can take hundreds of megabytes."""
    for checkpoints in folder.glob("rate_*/checkpoints"):
        shutil.rmtree(checkpoints)


def differences(rows: Sequence[dict[str, Any]], budget: int | str) -> list[dict[str, Any]]:
    """The test error that pretraining saves against each of the other networks, paired by seed.

    The interval is Student's t of the differences within the seeds, which share their labelled
    images and their initial weights.

    Args:
        rows: The rows of the report.
        budget: The number of labels.
    """
    errors = {row["arm"]: np.array(row["test_errors"]) for row in rows if row["labels"] == budget}
    gains = []
    for arm in ARMS[1:]:
        mean, half = mean_interval(errors[arm] - errors["pretrained"])
        interval = [mean - half, mean + half]
        gains.append({"labels": budget, "arm": arm, "mean": mean, "interval": interval})
    return gains


def _line(row: dict[str, Any]) -> str:
    low, high = row["test_interval"]
    return (
        f"{row['labels']} labels, {row['arm']}: test error {row['test_mean']:.2%} mean, "
        f"{row['test_sd']:.2%} standard deviation, 95 % interval {low:.2%} to {high:.2%} "
        f"(rate {row['rate']:g}, validation error {np.mean(row['valid_errors']):.2%})"
    )


def _print_table(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Test error on {report['data']}, {len(report['seeds'])} seeds")
    for heading in ("labels", "network", "rate", "mean", "sd", "95 % interval", "pretrained gains"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    gains = {(d["labels"], d["arm"]): d for d in report["differences"]}
    for row in report["rows"]:
        low, high = row["test_interval"]
        gain = gains.get((row["labels"], row["arm"]))
        words = ""
        if gain:
            half = gain["mean"] - gain["interval"][0]
            words = f"{100 * gain['mean']:.2f} ± {100 * half:.2f}"
        table.add_row(
            str(row["labels"]),
            row["arm"],
            f"{row['rate']:g}",
            f"{row['test_mean']:.2%}",
            f"{row['test_sd']:.2%}",
            f"{100 * low:.2f} to {100 * high:.2f}",
            words,
        )
    Console(width=100).print(table)
