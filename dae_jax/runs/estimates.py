"""Error rates in words, with their intervals, and warnings where they say little.

An error rate is an estimate: it rests on the images that it was counted on. Each warning is one
line.
"""

from collections.abc import Sequence

import numpy as np

from dae_jax import evaluation

__all__ = [
    "at_chance",
    "few_images",
    "few_labels",
    "in_words",
    "plural",
    "some",
    "untested",
    "worst_class",
]

ENOUGH_IMAGES = 100
"""Images that an error rate should rest on: of fewer, its interval is 20 % wide near one half."""
ENOUGH_LABELS = 5
"""Images of a class that a classifier should learn from."""


def in_words(wrong: int, n: int, images: str = "images") -> str:
    """An error rate, the number of images that it rests on, and its 95 % interval.

    >>> in_words(2, 10)
    '20.00% of 10 images, 95 % interval 5.67% to 50.98%'
    """
    low, high = evaluation.error_interval(wrong, n)
    return f"{wrong / n:.2%} of {n:,} {images}, 95 % interval {low:.2%} to {high:.2%}"


def worst_class(counts: np.ndarray, class_names: Sequence[str]) -> str:
    """The highest error rate of a class that was tested.

    Args:
        counts: The confusion matrix, (K, K): images of each true class (row) by predicted class.
        class_names: The names of the K classes.

    >>> worst_class(np.array([[9, 1], [1, 3]]), ["ant", "bee"])
    'highest for class bee: 25.00% of 4'
    """
    tested = counts.sum(axis=1)
    wrong = tested - counts.diagonal()
    rates = np.divide(wrong, tested, out=np.zeros(len(counts)), where=tested > 0)
    k = int(rates.argmax())
    return f"highest for class {class_names[k]}: {rates[k]:.2%} of {tested[k]:,}"


def few_images(what: str, n: int) -> list[str]:
    """A warning if an error rate rests on fewer than `ENOUGH_IMAGES` images.

    Args:
        what: The error, such as "test error".
        n: Images.
    """
    if n >= ENOUGH_IMAGES:
        return []
    images = plural(n, "image", "images")
    return [f"warning: the {what} rests on {images} only: a rough estimate, see its interval"]


def few_labels(labels: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """A warning if there are classes with fewer than `ENOUGH_LABELS` images to learn from.

    Args:
        labels: Those of the training images, (n,), 0 .. K-1.
        class_names: The names of the K classes.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    few = np.flatnonzero(counts < ENOUGH_LABELS).tolist()
    if not few:
        return []
    names = some([f"{class_names[k]} ({counts[k]})" for k in few])
    return [
        f"warning: fewer than {ENOUGH_LABELS} labelled training images of "
        f"{plural(len(few), 'class', 'classes')}, {names}: label more of them"
    ]


def untested(labels: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """A warning if there are classes without an image to test on.

    Args:
        labels: Those of the images that an error rate was counted on, (n,), 0 .. K-1.
        class_names: The names of the K classes.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    missing = np.flatnonzero(counts == 0).tolist()
    if not missing:
        return []
    names = some([class_names[k] for k in missing])
    kinds = plural(len(missing), "class", "classes")
    return [f"warning: no images to test on of {kinds}, {names}: the error there is unknown"]


def at_chance(
    what: str, wrong: int, labels: np.ndarray, class_names: Sequence[str], do: str
) -> list[str]:
    """A warning if an error rate is not clearly below that of guessing the most frequent class.

    That is, if its 95 % interval reaches so far. With images of a single class there is nothing to
    guess, and no warning.

    Args:
        what: The error, such as "test error".
        wrong: Misclassified images.
        labels: Those of all images that it was counted on, (n,), 0 .. K-1.
        class_names: The names of the K classes.
        do: What to try.
    """
    counts = np.bincount(labels)
    n, most = len(labels), int(counts.argmax())
    guessing = 1 - counts[most] / n
    _, high = evaluation.error_interval(wrong, n)
    if not guessing or high < guessing:
        return []
    return [
        f"warning: the {what} is not clearly below {guessing:.2%}, that of always guessing class "
        f"{class_names[most]}: {do}"
    ]


def some(words: Sequence[str]) -> str:
    """The first ten of some words, with commas."""
    return ", ".join(words[:10]) + (", ..." if len(words) > 10 else "")


def plural(n: int, one: str, many: str) -> str:
    """A number of things in words."""
    return f"{n:,} {one if n == 1 else many}"
