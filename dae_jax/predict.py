"""``python -m dae_jax.predict``: classes of new images, by a trained classifier, as a CSV file."""

import csv
import io
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from tyro.conf import arg

from dae_jax import console, files
from dae_jax.errors import InputError
from dae_jax.settings import shared
from dae_jax.settings.new_images import ModelAndImages

if TYPE_CHECKING:
    from dae_jax.runs.new_images import NewImages

__all__ = ["Settings", "as_csv", "cli", "in_words", "main"]


@dataclass(frozen=True)
class Settings(ModelAndImages):
    """Predict the classes of images with a run of python -m dae_jax.pretrain.

    For example:  python -m dae_jax.predict runs/mine new_images/
    """

    prog: ClassVar[str] = "python -m dae_jax.predict"

    out: Annotated[str, arg(metavar="PATH|-")] = "predictions.csv"
    """CSV file with one line per image: its name or number, its class, that class's probability and
    those of all classes; - prints it."""


def main(argv: Sequence[str]) -> None:
    """Parse, load, predict, write; print the error rate if the images have labels.

    Raises:
        InputError: A mistake that the user can correct.
    """
    settings = shared.parse(Settings, argv)
    console.set_up_jax("float32", 1)

    import jax

    from dae_jax import evaluation, stacked
    from dae_jax.runs import new_images, saved

    path = saved.find(settings.run, saved.CLASSIFIER)
    model, card = saved.load(path)
    if not isinstance(model, stacked.Classifier) or card.class_names is None:
        raise InputError(path, expected="a classifier", got="a dA, which knows no classes")
    new = new_images.load(settings.images, card, settings.part, settings.image_size, settings.grey)
    logits = evaluation.apply(saved.logits(card.activation), model, new.images, card.pixel_scale)
    predicted = logits.argmax(axis=1)
    table = as_csv(new.names, predicted, np.asarray(jax.nn.softmax(logits)), card.class_names)
    words = in_words(new, predicted, card.class_names)
    if settings.out == "-":
        _print(table)
        print(words, file=sys.stderr)
    else:
        print(f"{files.write_whole(settings.out, table)}  {words}")


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


def in_words(new: "NewImages", predicted: np.ndarray, class_names: Sequence[str]) -> str:
    """The error rate, by the names of the classes; without labels, the number of each class.

    Images of a class that the model does not know are left out of the error rate, and mentioned.
    """
    words = []
    if new.labels is not None:
        index = {name: i for i, name in enumerate(class_names)}
        labels = np.array([index.get(name, -1) for name in new.class_names])[new.labels]
        known = labels >= 0
        if known.any():
            error = 100 * np.mean(predicted[known] != labels[known])
            words.append(f"error {error:.2f} % of {known.sum():,} labelled images")
            if new.seen:
                words.append("the model was trained on some of them")
        if not known.all():
            unknown = _some([new.class_names[i] for i in np.unique(new.labels[~known])])
            words.append(f"{np.sum(~known):,} of classes that the model does not know ({unknown})")
    if not words or not known.any():
        counts = Counter(class_names[i] for i in predicted).most_common()
        numbers = _some([f"{name} {count:,}" for name, count in counts])
        words.insert(0, f"{len(predicted):,} images: {numbers}")
    return "; ".join(words)


def _some(words: Sequence[str]) -> str:
    return ", ".join(words[:10]) + (", ..." if len(words) > 10 else "")


def _print(table: bytes) -> None:
    try:
        sys.stdout.buffer.write(table)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has stopped reading
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def cli() -> int:
    """The console script ``dae-jax-predict``."""
    return console.run(main)


if __name__ == "__main__":
    sys.exit(cli())
