"""``python -m dae_jax.predict``: the classes of new images, by a trained stack, as a CSV file."""

import csv
import io
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from tyro.conf import arg

from dae_jax import console as command
from dae_jax import files
from dae_jax.runs import new_images
from dae_jax.runs.new_images import Asked, NewImages

PROG = "python -m dae_jax.predict"


@dataclass(frozen=True)
class Config(Asked):
    """Predict the classes of images with a run of python -m dae_jax.pretrain.

    For example:  python -m dae_jax.predict runs/mine new_images/
    """

    out: Annotated[str, arg(metavar="PATH|-")] = "predictions.csv"
    """Where a line an image goes: its name or number, its class, that class's probability and
    those of all classes; - prints them."""


def main(argv: Sequence[str]) -> None:
    """Parse, load, predict, write, and tell the error, where the images have labels.

    Raises:
        InputError: Whatever the user can mend.
    """
    asked = command.parse(Config, argv, PROG)
    path = new_images.find(asked.run, new_images.STACK)
    command.set_up_jax("float32", 1)

    import jax

    from dae_jax import stacked

    model, expected, class_names = new_images.load_classifier(path)
    new = new_images.load(asked, expected)
    logits = new_images.put_through(stacked.logits, model, new.images, expected.pixel_scale)
    predicted = logits.argmax(axis=1)
    table = as_csv(new.names, predicted, np.asarray(jax.nn.softmax(logits)), class_names)
    told = in_words(new, predicted, class_names)
    if asked.out == "-":
        _print(table)
        print(told, file=sys.stderr)
    else:
        print(f"{files.write_whole(asked.out, table)}  {told}")


def as_csv(
    names: Sequence[str],
    predicted: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
) -> bytes:
    """A line an image: ``image,class,probability,p_...``, six significant digits each.

    Args:
        names: What each of the n images is called.
        predicted: (n,), its class, 0 .. K-1.
        probabilities: (n, K).
        class_names: What the K classes are called.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["image", "class", "probability", *(f"p_{name}" for name in class_names)])
    for name, i, row in zip(names, predicted, probabilities, strict=True):
        digits = [f"{p:.6g}" for p in row]
        lines.writerow([name, class_names[i], digits[i], *digits])
    return text.getvalue().encode(errors="surrogateescape")  # file names need not be UTF-8


def in_words(new: NewImages, predicted: np.ndarray, class_names: Sequence[str]) -> str:
    """The share of wrong classes, which are compared by name; without labels, how many got which.

    Images of a class that the model does not know are left out of the share, and told.
    """
    told = []
    if new.labels is not None:
        index = {name: i for i, name in enumerate(class_names)}
        labels = np.array([index.get(name, -1) for name in new.class_names])[new.labels]
        known = labels >= 0
        if known.any():
            error = 100 * np.mean(predicted[known] != labels[known])
            told.append(f"error {error:.2f} % of {known.sum():,} labelled images")
            if new.seen:
                told.append("the model was trained on some of them")
        if not known.all():
            unknown = _some([new.class_names[i] for i in np.unique(new.labels[~known])])
            told.append(f"{np.sum(~known):,} of classes that the model does not know ({unknown})")
    if not told or not known.any():
        counts = Counter(class_names[i] for i in predicted).most_common()
        found = _some([f"{name} {count:,}" for name, count in counts])
        told.insert(0, f"{len(predicted):,} images: {found}")
    return "; ".join(told)


def _some(words: Sequence[str]) -> str:
    return ", ".join(words[:10]) + (", ..." if len(words) > 10 else "")


def _print(table: bytes) -> None:
    try:
        sys.stdout.buffer.write(table)
        sys.stdout.flush()
    except BrokenPipeError:  # a reader such as head has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def cli() -> int:
    """The console script ``dae-jax-predict``."""
    return command.run(main)


if __name__ == "__main__":
    sys.exit(cli())
