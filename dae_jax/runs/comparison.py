"""Did pretraining help? The same network with it, without it, and with nothing else.

For every number of labels and every seed, three classifiers learn from the same labelled images:

- *pretrained*: the stack, pretrained on all images without labels, all its layers fine-tuned;
- *random*: the same network from the weights that pretraining began with;
- *frozen*: the pretrained stack left as it is, and a softmax layer on its codes.

All have the same budget (epochs, patience, minibatches); each has its own step size, the one with
the least mean error on the validation images. The test images are looked at once, with that.
"""

import json
import shutil
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from dae_jax import __version__, training
from dae_jax.datasets import Dataset
from dae_jax.errors import InputError
from dae_jax.evaluation import mean_interval
from dae_jax.figures import plots
from dae_jax.files import write_whole
from dae_jax.runs import stack as stages
from dae_jax.runs.stack import Run
from dae_jax.settings import train as config
from dae_jax.settings.pretrain import Config

ARMS = ("pretrained", "random", "frozen")
LEAST_UPDATES = 200  # a look at the validation images: fewer labels are gone through several times


def run(run: Run) -> dict[str, Any] | None:
    """Compare, print a table, and write ``compare.json`` and ``compare.png``; None after Ctrl-C."""
    pretrained = stages.pretrain(run)
    if pretrained is None:
        return None
    random = [training.stack(members) for members in zip(*stages.fresh(run), strict=True)]
    rows = []
    for budget in run.settings.comparison.labels:
        for arm in ARMS:
            layers = random if arm == "random" else pretrained
            row = _row(run, budget, arm, layers)
            if row is None:
                return None
            rows.append(row)
            print(_line(row), flush=True)
    report = {
        "dae_jax": __version__,
        "command": run.command,
        "data": run.dataset.name,
        "instead_of_mnist": run.instead_of_mnist,
        "pretraining_images": len(run.images),
        "validation_images": len(run.dataset.valid.images),
        "test_images": len(run.dataset.test.images),
        "seeds": run.settings.seeds,
        "device": jax.devices()[0].device_kind,
        "rows": rows,
        "differences": [d for b in run.settings.comparison.labels for d in differences(rows, b)],
        "config": config.to_json(run.settings),
    }
    write_whole(run.folder / "compare.json", json.dumps(report, indent=2) + "\n")
    arms = {arm: [row["test_errors"] for row in rows if row["arm"] == arm] for arm in ARMS}
    budgets = [str(budget) for budget in run.settings.comparison.labels]
    about = {"dae_jax": __version__, "command": run.command}
    plots.save(run.folder / "compare.png", plots.comparison(budgets, arms), about)
    _print_table(report)
    print(f"{run.folder / 'compare.json'}, {run.folder / 'compare.png'}")
    return report


def check(dataset: Dataset, settings: Config) -> None:
    """Refuse a comparison that cannot be made, before anything is trained.

    Raises:
        InputError: Fewer labels than classes, more than there are, a single seed, or no images
            with labels to choose or to test by.
    """
    labels = dataset.train.labels
    assert labels is not None
    n_classes, n = dataset.train.n_classes, len(labels)
    for budget in settings.comparison.labels:
        if budget != "all" and not n_classes <= budget <= n:
            raise InputError(
                "--labels",
                expected=f"{n_classes} (one for each class) to {n}, the training images, or all",
                got=budget,
            )
    if settings.running.seeds < 2:
        raise InputError(
            "--seeds", expected="at least 2 to compare, or there is no interval", got=1
        )
    held_out = dataset.valid, dataset.test
    if not all(len(part.images) and part.labels is not None for part in held_out):
        raise InputError(
            "--compare", expected="labelled images to validate and to test with", got="none"
        )


def labelled(labels: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Which images keep their labels: a draw of `n`, as even over the classes as can be.

    Args:
        labels: The classes of all training images.
        n: How many to draw, at least one a class.
        seed: Whose draw.

    Returns:
        (n,) indices, the classes in turns, so that every minibatch is a fair one, too.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    turn = np.empty(len(labels), int)  # how many of its class come before an image
    for k in range(int(labels.max()) + 1):
        own = order[labels[order] == k]
        turn[own] = np.arange(len(own))
    return order[np.lexsort((labels[order], turn[order]))][:n]


def _row(run: Run, budget: int | str, arm: str, layers: Sequence[Any]) -> dict[str, Any] | None:
    """Train a setting at every rate, for all seeds at once, choose, and test what was chosen."""
    folder = run.folder / "compare" / f"labels_{budget}_{arm}"
    done = folder / "row.json"
    if run.finished(done):
        return json.loads(done.read_text())
    images, labels, own_data = _labelled_images(run, budget)
    trials = []
    for rate in run.settings.comparison.rates:
        tuned = stages.finetune(
            run,
            folder / f"rate_{rate:g}",
            layers,
            images,
            labels,
            learning_rate=rate,
            freeze=arm == "frozen",
            own_data=own_data,
            title=f"{budget} labels, {arm}, rate {rate:g}",
        )
        if tuned is None:
            return None
        trials.append(tuned)
    valid = [trial.rule.best_error for trial in trials]  # type: ignore[union-attr]  # there is one
    chosen = int(np.argmin([errors.mean() for errors in valid]))
    wrong = stages.error_counter(run, run.dataset.test)
    row = {
        "labels": budget,
        "arm": arm,
        "rates": list(run.settings.comparison.rates),
        "valid_errors_of_rates": [errors.tolist() for errors in valid],
        "rate": run.settings.comparison.rates[chosen],
        "valid_errors": valid[chosen].tolist(),
        "test_errors": [wrong(model) for model in trials[chosen].models],
        "best_epochs": trials[chosen].rule.best_epoch.tolist(),  # type: ignore[union-attr]
    }
    mean, half = mean_interval(row["test_errors"])
    deviation = float(np.std(row["test_errors"], ddof=1))
    row |= {"test_mean": mean, "test_sd": deviation, "test_interval": [mean - half, mean + half]}
    write_whole(done, json.dumps(row, indent=2) + "\n")
    for checkpoints in folder.glob("rate_*/checkpoints"):
        shutil.rmtree(checkpoints)  # hundreds of megabytes that nobody will go on from
    return row


def _labelled_images(run: Run, budget: int | str) -> tuple[np.ndarray, np.ndarray, bool]:
    """Images and labels to fine-tune with; each seed's own draw, unless all images are used."""
    images, labels = run.dataset.train
    assert labels is not None
    if budget == "all":
        return images, labels, False
    least = LEAST_UPDATES * min(run.settings.finetuning.finetune_batch_size, int(budget))
    draws = [labelled(labels, int(budget), seed) for seed in run.settings.seeds]
    repeated = np.stack([np.tile(draw, -(-least // len(draw))) for draw in draws])
    return images[repeated], labels[repeated], True


def differences(rows: Sequence[dict[str, Any]], budget: int | str) -> list[dict[str, Any]]:
    """What the pretrained network gains over each of the others, seed by seed.

    The interval is a paired one: Student's t of the differences within the seeds, which share
    their labelled images and their first weights.
    """
    errors = {row["arm"]: np.array(row["test_errors"]) for row in rows if row["labels"] == budget}
    found = []
    for arm in ARMS[1:]:
        mean, half = mean_interval(errors[arm] - errors["pretrained"])
        interval = [mean - half, mean + half]
        found.append({"labels": budget, "arm": arm, "mean": mean, "interval": interval})
    return found


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
        told = ""
        if gain:
            half = gain["mean"] - gain["interval"][0]
            told = f"{100 * gain['mean']:.2f} ± {100 * half:.2f}"
        table.add_row(
            str(row["labels"]),
            row["arm"],
            f"{row['rate']:g}",
            f"{row['test_mean']:.2%}",
            f"{row['test_sd']:.2%}",
            f"{100 * low:.2f} to {100 * high:.2f}",
            told,
        )
    Console(width=100).print(table)
