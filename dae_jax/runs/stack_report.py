"""What came of a stack: its errors, its pictures and its records."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dae_jax import __version__, autoencoder, figures, stacked, training
from dae_jax.autoencoder import AnyParams
from dae_jax.datasets import Dataset
from dae_jax.figures import plots
from dae_jax.files import write_whole
from dae_jax.runs import checkpoints
from dae_jax.runs.stack import Run, Tuned, predict
from dae_jax.settings import train as config


def finish(run: Run, layers: Sequence[AnyParams], tuned: Tuned) -> None:
    """Test, draw, record and say what came of it. The test images are looked at here, once.

    Args:
        run: The run.
        layers: The pretrained layers, their leaves with the axis of members.
        tuned: What fine-tuning came to.
    """
    metrics = {name: checkpoints.read_metrics(_metrics(run, name)) for name in run.stages}
    seconds = {name: sum(row["seconds"] for row in rows) for name, rows in metrics.items()}
    results = []
    for i, model in enumerate(tuned.models):
        folder, seed = run.member_folder(i), run.settings.seeds[i]
        own = {name: [_of_member(row, i) for row in rows] for name, rows in metrics.items()}
        about = about_model(run) | {"seed": seed}
        checkpoints.save_classifier(folder / "model.safetensors", model, about)
        drawn = draw(run, folder / "figures", training.member(layers, i), tuned, i, own)
        result = {
            "seed": seed,
            **_errors(run, tuned, i),
            "epochs": {name: len(rows) for name, rows in own.items()},
            "pretraining_costs": [own[k][-1]["cost"] if own[k] else None for k in run.stages[:-1]],
            "figures": [str(path.relative_to(run.folder)) for path in drawn],
        }
        write_whole(folder / "results.json", json.dumps(result, indent=2) + "\n")
        print(f"{folder / 'model.safetensors'}  {_in_words(result)}")
        results.append(result)
    report = {
        "dae_jax": __version__,
        "command": run.command,
        "data": {
            "name": run.dataset.name,
            "pretraining_images": len(run.images),
            "labelled_images": len(run.dataset.train.images),
            "instead_of_mnist": run.instead_of_mnist,
        },
        "seconds": {name: round(s, 3) for name, s in seconds.items()},
        "device": jax.devices()[0].device_kind,
        "members": results,
    }
    for name, words in (("valid_error", "validation error"), ("test_error", "test error")):
        if len(results) > 1 and name in results[0]:
            errors = [result[name] for result in results]
            report |= {name: {"mean": np.mean(errors), "sd": np.std(errors, ddof=1)}}
            print(f"{words}: {spread(errors)}")
    write_whole(run.folder / "report.json", json.dumps(report, indent=2) + "\n")
    told = ", ".join(f"{name} {s:.0f} s" for name, s in seconds.items())
    print(f"{run.dataset.name}, preset {run.settings.preset}: {told}; run {run.folder}")
    if run.instead_of_mnist:
        print("this was the sample: the published numbers, which are MNIST's, do not apply")


def spread(errors: Sequence[float]) -> str:
    """Mean and standard deviation of some shares, for people."""
    deviation = np.std(errors, ddof=1)
    return f"{np.mean(errors):.3%} mean, {deviation:.3%} standard deviation, {len(errors)} seeds"


def about_model(run: Run) -> dict[str, Any]:
    """What a model's file says of it: all that is needed to use it on other images."""
    images = run.dataset.train.images
    return {
        "kind": "classifier",
        "dae_jax": __version__,
        "data": run.dataset.name,
        "image_shape": run.dataset.image_shape,
        "pixels": images.shape[1],
        "integer_pixels": bool(np.issubdtype(images.dtype, np.integer)),
        "range": [float(images.min()), float(images.max())],
        "pixel_scale": run.pixel_scale,
        "class_names": class_names(run.dataset),
        # not where it was written to: equal models are equal files
        "config": {k: v for k, v in config.to_json(run.settings).items() if k != "output"},
    }


def class_names(dataset: Dataset) -> list[str]:
    """What the classes are called, in order; their numbers, where they have no names."""
    if dataset.class_names is not None:
        return list(dataset.class_names)
    return [str(i) for i in range(dataset.train.n_classes)]


def draw(
    run: Run,
    folder: Path,
    layers: Sequence[AnyParams],
    tuned: Tuned,
    i: int,
    metrics: dict[str, list[dict[str, Any]]],
) -> list[Path]:
    """The pictures of member i.

    ``filters_layer_k.png``: what the pretrained units look for, those of higher layers as weighted
    sums of lower ones (see `stacked.input_weights`); ``learning_curves.png``; and, where there are
    labels to test with, ``confusion_matrix.png`` and ``misclassified.png``.
    """
    about = {"dae_jax": __version__, "data": run.dataset.name, **config.to_json(run.settings)}
    shape = run.dataset.image_shape
    drawn = []
    for k in range(1, len(layers) + 1):
        sheet = figures.filter_sheet(stacked.input_weights(layers[:k]), shape)
        about_sheet = about | {"layer": k, "method": "product of the weight matrices"}
        drawn.append(figures.save_png(folder / f"filters_layer_{k}.png", sheet, about_sheet))
    *below, last = (metrics[name] for name in run.stages)
    best = None if tuned.rule is None else int(tuned.rule.best_epoch[i])
    curves = plots.learning_curves(below, last, best)
    drawn.append(plots.save(folder / "learning_curves.png", curves, about))
    held_out = run.dataset.test, run.dataset.valid
    split = next((part for part in held_out if part.labels is not None), held_out[0])
    if len(split.images) and split.labels is not None:
        names = class_names(run.dataset)
        predicted = predict(tuned.models[i], split.images, run.pixel_scale)
        matrix = plots.confusion_matrix(split.labels, predicted, names)
        drawn.append(plots.save(folder / "confusion_matrix.png", matrix, about))
        wrong = np.flatnonzero(predicted != split.labels)[:100]
        if len(wrong):
            x = np.asarray(autoencoder.pixels(split.images[wrong], run.pixel_scale))
            pairs = [(names[split.labels[i]], names[predicted[i]]) for i in wrong]
            sheet = plots.captioned_images(x, shape, [f"{is_}→{said}" for is_, said in pairs])
            drawn.append(plots.save(folder / "misclassified.png", sheet, about))
    return drawn


def _errors(run: Run, tuned: Tuned, i: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if tuned.rule is not None:
        found["best_epoch"] = int(tuned.rule.best_epoch[i])
        found["valid_error"] = float(tuned.rule.best_error[i])
    test = run.dataset.test
    if len(test.images) and test.labels is not None:
        wrong = predict(tuned.models[i], test.images, run.pixel_scale) != test.labels
        found["test_error"] = float(wrong.mean())
        found["test_images"] = len(wrong)
    return found


def _in_words(result: dict[str, Any]) -> str:
    told = []
    if "valid_error" in result:
        told.append(f"validation error {result['valid_error']:.2%} (epoch {result['best_epoch']})")
    if "test_error" in result:
        told.append(f"test error {result['test_error']:.2%} of {result['test_images']:,} images")
    return ", ".join(told) or "nothing was held out to test with"


def _metrics(run: Run, stage: str) -> Path:
    return run.folder / stage / "metrics.jsonl"


def _of_member(row: dict[str, Any], i: int) -> dict[str, Any]:
    """A member's own share of a row of metrics."""
    own = {"epoch": row["epoch"], "cost": row["costs"][i] if "costs" in row else row["cost"]}
    if "valid_error" in row:
        own["valid_error"] = row["valid_error"][i]
    return own
