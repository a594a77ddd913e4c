"""``python -m dae_jax.predict``: classes of new images, by a trained classifier, as a CSV file."""

import sys

if __name__ == "__main__":  # first, so that Ctrl-C during the imports is one line, too
    from dae_jax.console import cli

    sys.exit(cli())

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from tyro.conf import arg

from dae_jax import console, files
from dae_jax.settings import shared
from dae_jax.settings.new_images import ModelAndImages

if TYPE_CHECKING:
    from dae_jax.runs.new_images import NewImages

__all__ = ["Settings", "as_csv", "in_words", "known_labels", "main"]


@dataclass(frozen=True)
class Settings(ModelAndImages):
    """Predict the classes of images with a run of python -m dae_jax.pretrain.

    For example:  python -m dae_jax.predict runs/mine new_images/
    """

    prog: ClassVar[str] = "python -m dae_jax.predict"

    out: Annotated[str, arg(metavar="PATH|-")] = "predictions.csv"
    """CSV file with one line per image: its name or number, its class, that class's probability and
    those of all classes; - prints it. Beside it, if the images have labels, the confusion matrix:
    predictions_confusion.csv and .png."""


def main(argv: Sequence[str]) -> None:
    """Parse, load, predict, write; if the images have labels, tell and draw the errors.

    Raises:
        InputError: A mistake that the user can correct.
    """
    settings = shared.parse(Settings, argv)
    console.set_up_jax("float32", 1)

    from dae_jax import evaluation
    from dae_jax.runs import new_images, saved

    path = saved.find(settings.run, saved.CLASSIFIER)
    model = saved.load(path)
    names, card = model.class_names, model.card
    new = new_images.load(settings.images, card, settings.part, settings.image_size, settings.grey)
    probabilities = model.predict_proba(new.images)
    predicted = probabilities.argmax(axis=1)
    table = as_csv(new.names, predicted, probabilities, names)
    labels = known_labels(new, names)
    first, *warnings = in_words(new, labels, predicted, names)
    if settings.out == "-":
        console.write(table)
        print(first, *warnings, sep="\n", file=sys.stderr)
        return
    print(f"{files.write_whole(settings.out, table)}  {first}")
    if (known := labels >= 0).any():
        counts = evaluation.confusion(labels[known], predicted[known], len(names))
        about = {"model": str(path), "images": settings.images}
        print(*_save_confusion(Path(settings.out), counts, names, about), sep=", ")
    for warning in warnings:
        print(warning)


def as_csv(
    names: Sequence[str],
    predicted: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
) -> bytes:
    """One line per image: ``image,class,probability,p_...``, with six significant digits each.

    Args:
        names: The names of the n images.
        predicted: (n,), their classes, 0 .. K-1.
        probabilities: (n, K).
        class_names: The names of the K classes.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["image", "class", "probability", *(f"p_{name}" for name in class_names)])
    for name, i, row in zip(names, predicted, probabilities, strict=True):
        digits = [f"{p:.6g}" for p in row]
        lines.writerow([name, class_names[i], digits[i], *digits])
    return text.getvalue().encode(errors="surrogateescape")  # file names need not be UTF-8


def known_labels(new: "NewImages", class_names: Sequence[str]) -> np.ndarray:
    """The labels of images as the model counts classes, (n,), by name; -1 if there are none.

    Args:
        new: The images. Some may be of a class that the model does not know, too.
        class_names: The names of the model's classes.
    """
    if new.labels is None:
        return np.full(len(new.images), -1)
    index = {name: i for i, name in enumerate(class_names)}
    return np.array([index.get(name, -1) for name in new.class_names])[new.labels]


def in_words(
    new: "NewImages", labels: np.ndarray, predicted: np.ndarray, class_names: Sequence[str]
) -> list[str]:
    """The error rate; without labels, the number of each class. Warnings follow, one line each.

    Images of a class that the model does not know are left out of the error rate, and mentioned.

    Args:
        new: The images.
        labels: Their `known_labels`.
        predicted: Their predicted classes, (n,), 0 .. K-1.
        class_names: The names of the K classes.
    """
    from dae_jax import evaluation
    from dae_jax.runs import estimates

    words, warnings, known = [], [], labels >= 0
    if known.any():
        own, wrong = labels[known], int(np.sum(predicted[known] != labels[known]))
        counts = evaluation.confusion(own, predicted[known], len(class_names))
        words.append(f"error {estimates.in_words(wrong, len(own), 'labelled images')}")
        if wrong:
            words.append(estimates.worst_class(counts, class_names))
        if new.seen:
            words.append("the model was trained on some of them")
        do = "check that these images are prepared as the training images were"
        warnings = [
            *estimates.few_images("error", len(own)),
            *estimates.untested(own, class_names),
            *estimates.at_chance("error", wrong, own, class_names, do),
        ]
    else:
        most = Counter(class_names[i] for i in predicted).most_common()
        numbers = estimates.some([f"{name} {count:,}" for name, count in most])
        words.append(f"{len(predicted):,} images: {numbers}")
    if new.labels is not None and not known.all():
        names = estimates.some([new.class_names[i] for i in np.unique(new.labels[~known])])
        words.append(f"{np.sum(~known):,} of classes that the model does not know ({names})")
    return ["; ".join(words), *warnings]


def _save_confusion(
    out: Path, counts: np.ndarray, class_names: Sequence[str], about: dict[str, str]
) -> list[Path]:
    """Write the confusion matrix beside the predictions, as a CSV file and as a figure."""
    from dae_jax.figures import plots

    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["true class", *class_names])
    lines.writerows([name, *row] for name, row in zip(class_names, counts.tolist(), strict=True))
    table = text.getvalue().encode(errors="surrogateescape")
    figure = plots.confusion_matrix(counts, class_names)
    return [
        files.write_whole(out.with_name(f"{out.stem}_confusion.csv"), table),
        plots.save(out.with_name(f"{out.stem}_confusion.png"), figure, about),
    ]
