"""The report of a stack: its errors, its figures and its models."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dae_jax import __version__, autoencoder, console, evaluation, figures, stacked, training
from dae_jax.autoencoder import AnyParams
from dae_jax.datasets import Split
from dae_jax.figures import plots
from dae_jax.files import write_whole
from dae_jax.runs import baselines, cards, estimates, saved
from dae_jax.runs.checkpoints import read_metrics
from dae_jax.runs.run import Run
from dae_jax.runs.stack import Tuned
from dae_jax.settings import ladder, pretrain
from dae_jax.stacked import Classifier, Layer

__all__ = ["finish", "spread"]

ERRORS = {"valid": "validation error", "test": "test error"}
Rows = list[dict[str, Any]]
AnyRun = Run[pretrain.Settings] | Run[ladder.Settings]


class Drawing(NamedTuple):
    """A figure: its name, an array of bytes or a matplotlib figure, and its own metadata."""

    name: str
    figure: Any
    about: dict[str, Any]


def finish(
    run: AnyRun,
    names: Sequence[str],
    layers: Sequence[AnyParams],
    tuned: Tuned,
    labelled: Split,
    **more: Any,
) -> None:
    """Test, draw and save all members, and print a summary. Only here the test images are used.

    Args:
        run: The run.
        names: The names of its stages.
        layers: The pretrained layers, their leaves with the axis of members; none of a ladder.
        tuned: The trained classifiers.
        labelled: The labelled images that the first member learned from, for the baselines.
        **more: What else the report holds, such as a ladder's cross-validation.
    """
    metrics = {name: read_metrics(run.folder / name / "metrics.jsonl") for name in names}
    seconds = {name: float(sum(row["seconds"] for row in rows)) for name, rows in metrics.items()}
    results = []
    for i, model in enumerate(tuned.models):
        folder, seed = run.member_folder(i), run.members[i].seed
        own = {name: [_of_member(row, i) for row in rows] for name, rows in metrics.items()}
        card = cards.card("classifier", run.dataset, run.settings, seed, sha256=run.sha256)
        saved.save(folder / saved.CLASSIFIER, model, card)
        logits = saved.logits(card.activation)
        first = training.member(layers, i) if layers else model.hidden[:1]
        drawings = [
            *_filters(first, run.dataset.name, run.dataset.image_shape),
            _curves(own, tuned, i),
            *_classified(run, logits, model, card.class_names or ()),
        ]
        paths = _save(folder / "figures", drawings, run.about)
        result = {
            "seed": seed,
            **_errors(run, logits, tuned, i),
            "epochs": {name: len(rows) for name, rows in own.items()},
            "pretraining_costs": [own[k][-1]["cost"] if own[k] else None for k in names[:-1]],
            "figures": [str(path.relative_to(run.folder)) for path in paths],
        }
        write_whole(folder / "results.json", json.dumps(result, indent=2) + "\n")
        print(folder / saved.CLASSIFIER, *_in_words(result), sep="\n  ")
        results.append(result)
    beside = _baselines(run, labelled, results)
    warnings = _warnings(run, labelled, results, more.get("cross_validation"))
    _write_report(run, results, seconds, {"baselines": beside, "warnings": warnings, **more})
    for warning in warnings:
        print(warning)
    durations = ", ".join(f"{name} {s:.0f} s" for name, s in seconds.items())
    print(f"{run.dataset.name}, preset {run.settings.preset}: {durations}; run {run.folder}")
    if run.instead_of_mnist:
        print("this was the sample: the published numbers, which are MNIST's, do not apply")


def _baselines(run: AnyRun, labelled: Split, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The test errors of simple classifiers; they and the network's are printed as a table."""
    images, labels = run.dataset.test
    if not len(images) or labels is None:
        return []
    n, rows = len(images), []
    for name, predicted, seconds in baselines.predict(
        labelled, run.dataset.pretraining_images, images, run.pixel_scale
    ):
        wrong = int(np.sum(predicted != labels))
        rows.append({"name": name, "test_error": wrong / n, "seconds": round(seconds, 2)})
    ours = float(np.mean([result["test_error"] for result in results]))
    print(f"test error of {n:,} images, with its 95 % interval; the baselines learn in seconds:")
    for name, error in [("this network", ours), *((r["name"], r["test_error"]) for r in rows)]:
        low, high = evaluation.error_interval(round(error * n), n)
        print(f"  {name:20} {error:7.2%}  {low:.2%} to {high:.2%}")
    return rows


def _warnings(
    run: AnyRun, labelled: Split, results: Rows, crossed: dict[str, int] | None
) -> list[str]:
    """Warnings of errors that say little or are those of guessing, and of classes of few labels.

    Without images to test with, the validation error is looked at, and without those the error that
    was cross-validated on the labelled images.
    """
    assert labelled.labels is not None
    n_classes = int(labelled.labels.max()) + 1
    names = run.dataset.class_names or [str(k) for k in range(n_classes)]
    errors = []
    for part, what in ERRORS.items():
        if f"{part}_error" in results[0]:
            labels = getattr(run.dataset, part).labels
            mean = float(np.mean([result[f"{part}_error"] for result in results]))
            errors.append((what, round(mean * len(labels)), labels))
    if not errors and crossed:
        errors.append(("cross-validated error", crossed["wrong"], labelled.labels))
    lines = estimates.few_labels(labelled.labels, names)
    for what, _, labels in errors:
        lines += estimates.few_images(what, len(labels))
    for what, wrong, labels in errors[-1:]:
        do = f"try {_remedies(run.settings, results[0])}"
        lines += estimates.untested(labels, names)
        lines += estimates.at_chance(what, wrong, labels, names, do)
    return lines


def _remedies(settings: ladder.Settings | pretrain.Settings, result: dict[str, Any]) -> str:
    """Advice for a run that has learned nothing."""
    if isinstance(settings, ladder.Settings):
        rate, epochs = settings.training.learning_rate, settings.epochs
        words = [
            f"another --learning-rate, which is {rate:g}",
            f"more --epochs, which are {epochs}",
        ]
    else:
        f = settings.finetuning
        words = [f"a lower --finetune-learning-rate, which is {f.rate:g} ({f.finetune_optimizer})"]
        if result["epochs"]["finetune"] == f.finetune_epochs:  # patience has not ended it
            words.append(f"more --finetune-epochs, which are {f.finetune_epochs}")
        if not f.finetune_shuffle:
            words.append("--finetune-shuffle")
    return f"{', '.join(words)}, or more labelled images"


def _write_report(
    run: AnyRun,
    results: list[dict[str, Any]],
    seconds: dict[str, float],
    more: dict[str, Any],
) -> None:
    """Write ``report.json``: the command, the data, and every member's results."""
    report = {
        "dae_jax": __version__,
        "command": run.command,
        "data": {
            "name": run.dataset.name,
            "pretraining_images": 0 if "from_run" in more else len(run.dataset.pretraining_images),
            "labelled_images": getattr(run.settings.data, "labels", None)
            or len(run.dataset.train.images),
            "instead_of_mnist": run.instead_of_mnist,
        },
        "seconds": {name: round(s, 3) for name, s in seconds.items()},
        "device": jax.devices()[0].device_kind,
        "processor": console.processor(),
        "members": results,
        **more,
    }
    for part, words in ERRORS.items():
        if len(results) > 1 and f"{part}_error" in results[0]:
            errors = [result[f"{part}_error"] for result in results]
            report |= {f"{part}_error": {"mean": np.mean(errors), "sd": np.std(errors, ddof=1)}}
            n = results[0][f"{part}_images"]
            low, high = evaluation.error_interval(round(float(np.mean(errors)) * n), n)
            interval = f"95 % interval of {n:,} images {low:.2%} to {high:.2%}"
            print(f"{words}: {spread(errors)}; {interval}")
    write_whole(run.folder / "report.json", json.dumps(report, indent=2) + "\n")


def spread(errors: Sequence[float]) -> str:
    """Mean and standard deviation of some error rates, in words."""
    deviation = np.std(errors, ddof=1)
    return f"{np.mean(errors):.3%} mean, {deviation:.3%} standard deviation, {len(errors)} seeds"


def _filters(
    layers: Sequence[AnyParams | Layer], data_name: str, image_shape: Sequence[int] | None
) -> list[Drawing]:
    """The filters of each layer; those above the first are weighted sums of the filters below.

    Each sheet is drawn twice, as the tutorial has it and enlarged with labels. There is none for
    vectors that are no images.
    """
    drawings = []
    for k in range(1, len(layers) + 1 if image_shape is not None else 1):
        sheet = figures.filter_sheet(stacked.input_weights(layers[:k]), image_shape)
        about = {"layer": k, "method": "product of the weight matrices"}
        n = layers[k - 1].W.shape[1]
        sums = "" if k == 1 else ": weighted sums of the filters below"
        title = f"Units 1 to {min(n, 100)} of {n} of layer {k}, {data_name}{sums}"
        labelled = plots.labelled_filters(sheet, title, n)
        drawings.append(Drawing(f"filters_layer_{k}", sheet, about))
        drawings.append(Drawing(f"filters_layer_{k}_labelled", labelled, about))
    return drawings


def _curves(metrics: dict[str, Rows], tuned: Tuned, i: int) -> Drawing:
    """The learning curves of all stages of member i."""
    *layers, last = metrics.values()
    best = None if tuned.rule is None else int(tuned.rule.best_epoch[i])
    return Drawing("learning_curves", plots.learning_curves(layers, last, best), {})


def _classified(
    run: AnyRun, logits: Callable[..., Any], model: Classifier, class_names: Sequence[str]
) -> list[Drawing]:
    """The confusion matrix and the misclassified images, if there are labels to test with."""
    parts = [run.dataset.test, run.dataset.valid]
    part = next((part for part in parts if part.labels is not None), parts[0])
    if not len(part.images) or part.labels is None:
        return []
    predicted = evaluation.apply(logits, model, part.images, run.pixel_scale).argmax(axis=1)
    counts = evaluation.confusion(part.labels, predicted, len(class_names))
    matrix = plots.confusion_matrix(counts, class_names)
    drawings = [Drawing("confusion_matrix", matrix, {})]
    all_wrong = np.flatnonzero(predicted != part.labels)
    wrong = all_wrong[:100]
    if len(wrong) and run.dataset.image_shape is not None:
        x = np.asarray(autoencoder.pixels(part.images[wrong], run.pixel_scale))
        pairs = zip(part.labels[wrong], predicted[wrong], strict=True)
        captions = [f"{class_names[true]}→{class_names[given]}" for true, given in pairs]
        title = (
            f"{len(wrong)} of {len(all_wrong):,} misclassified images: true class → predicted class"
        )
        images = plots.captioned_images(x, run.dataset.image_shape, captions, title)
        drawings.append(Drawing("misclassified", images, {}))
    return drawings


def _save(folder: Path, drawings: Sequence[Drawing], about: dict[str, Any]) -> list[Path]:
    """Save figures under their names."""
    paths = []
    for name, figure, own in drawings:
        save: Any = figures.save_png if isinstance(figure, np.ndarray) else plots.save
        paths.append(save(folder / f"{name}.png", figure, about | own))
    return paths


def _errors(run: AnyRun, logits: Callable[..., Any], tuned: Tuned, i: int) -> dict[str, Any]:
    """The validation error, with the epoch if it chose one, and the test error."""

    def error(part: Split) -> float | None:
        images, labels = part
        if not len(images) or labels is None:
            return None
        return evaluation.error_rate(logits, tuned.models[i], images, labels, run.pixel_scale)

    errors: dict[str, Any] = {}
    if tuned.rule is not None:
        errors["best_epoch"] = int(tuned.rule.best_epoch[i])
        errors["valid_error"] = float(tuned.rule.best_error[i])
    elif (valid := error(run.dataset.valid)) is not None:
        errors["valid_error"] = valid
    if "valid_error" in errors:
        errors["valid_images"] = len(run.dataset.valid.images)
    if (test := error(run.dataset.test)) is not None:
        errors |= {"test_error": test, "test_images": len(run.dataset.test.images)}
    return errors


def _in_words(result: dict[str, Any]) -> list[str]:
    """The errors of a member with their intervals, one line each."""
    lines = []
    for part, words in ERRORS.items():
        if f"{part}_error" in result:
            n = result[f"{part}_images"]
            chosen = part == "valid" and "best_epoch" in result
            epoch = f", the lowest, of epoch {result['best_epoch']}" if chosen else ""
            wrong = round(result[f"{part}_error"] * n)
            lines.append(f"{words} {estimates.in_words(wrong, n)}{epoch}")
    return lines if "test_error" in result else [*lines, "no images were held out for testing"]


def _of_member(row: dict[str, Any], i: int) -> dict[str, Any]:
    """A member's own row of metrics."""
    own = {"epoch": row["epoch"], "cost": row["costs"][i] if "costs" in row else row["cost"]}
    if "valid_error" in row:
        own["valid_error"] = row["valid_error"][i]
    return own
