"""How far images are shifted while a network learns: tried with classifiers that take seconds.

A support vector machine and a nearest neighbour learn from few labelled images, with and without
shifted copies of them. If the copies help them to classify other images, then shifts leave the
classes as they are, and a network is trained with shifted images too (after Schölkopf, Burges &
Vapnik, "Incorporating Invariances in Support Vector Learning Machines", ICANN 1996).
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dae_jax.datasets import Split
from dae_jax.rows import in_memory

__all__ = ["Trial", "candidates", "compare"]

SHARE = 1 / 14
"""The distance that is tried, as a share of the image's side: 2 of 28 pixels."""
FOLDS, ENOUGH = 4, 100
"""Of cross-validation, and the number of validation images that is used instead."""
MOST, PREDICTIONS = 500, 500
"""Labelled images to learn from at most, and predictions that cross-validation is repeated for."""


class Trial(NamedTuple):
    """The errors of classifiers that learn from images shifted so far."""

    shift: int
    wrong: int
    n: int

    def in_words(self) -> str:
        """The distance and the error."""
        what = f"and copies shifted by {self.shift}" if self.shift else "as they are"
        return f"{what} {self.wrong / self.n:.1%}"


def candidates(image_shape: Sequence[int] | None) -> list[int]:
    """The distances to choose from, in pixels: 0 and, if the images are large enough, `SHARE`.

    >>> candidates((28, 28)), candidates((5, 40)), candidates(None)
    ([0, 2], [0], [0])
    """
    furthest = 0 if image_shape is None else round(SHARE * min(image_shape[:2]))
    return [0, furthest] if furthest else [0]


def compare(
    labelled: Split, valid: Split, image_shape: Sequence[int], furthest: Sequence[int]
) -> list[Trial]:
    """Count the errors of both classifiers, with images shifted so far.

    Args:
        labelled: The images to learn from; the first `MOST` are used.
        valid: Images to test on. If there are fewer than `ENOUGH`, the labelled ones are
            cross-validated instead, several times if they are few.
        image_shape: (height, width) or (height, width, colours).
        furthest: The distances, in pixels.

    Returns:
        One trial for each distance; none if fewer than two classes have two images.
    """
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    labels = labelled.labels
    assert labels is not None
    images = np.asarray(labelled.images[:MOST], float)
    own = Split(images, labels[:MOST])
    pairs = [(own, valid)] if _enough(valid) else list(_folds(own))
    trials = []
    for shift in furthest if pairs else []:
        wrong = n = 0
        for (x, y), (new, their_labels) in pairs:
            copies = _shifted(in_memory(x), image_shape, shift)
            every, classes = np.concatenate(copies), np.tile(np.asarray(y), len(copies))
            for classifier in (SVC(C=10), KNeighborsClassifier(1)):
                with warnings.catch_warnings():  # of images that are all the same, and the like
                    warnings.simplefilter("ignore")
                    predicted = classifier.fit(every, classes).predict(in_memory(new))
                wrong, n = wrong + int(np.sum(predicted != their_labels)), n + len(new)
        trials.append(Trial(shift, wrong, n))
    return trials


def _enough(valid: Split) -> bool:
    return valid.labels is not None and len(valid.images) >= ENOUGH


def _folds(own: Split) -> Iterator[tuple[Split, Split]]:
    """Images to learn from and to test on, of the classes that have two images or more."""
    from sklearn.model_selection import RepeatedStratifiedKFold

    images, labels = own
    assert labels is not None
    counts = np.bincount(labels)
    several = counts[labels] >= 2
    images, labels = images[several], labels[several]
    if len(set(labels)) < 2:
        return
    fewest = int(counts[counts >= 2].min())
    repeats = -(-PREDICTIONS // len(labels))
    folds = RepeatedStratifiedKFold(n_splits=min(FOLDS, fewest), n_repeats=repeats, random_state=0)
    for some, others in folds.split(images, labels):
        yield Split(images[some], labels[some]), Split(images[others], labels[others])


def _shifted(images: np.ndarray, image_shape: Sequence[int], distance: int) -> list[np.ndarray]:
    """The images, and them shifted to the eight sides; see `corruption.shift`."""
    height, width = image_shape[:2]
    pictures = images.reshape(len(images), height, width, -1)
    steps = sorted({-distance, 0, distance})
    rows = [np.clip(np.arange(height) + step, 0, height - 1) for step in steps]
    columns = [np.clip(np.arange(width) + step, 0, width - 1) for step in steps]
    return [
        pictures[:, row][:, :, column].reshape(len(images), -1)
        for row in rows
        for column in columns
    ]
