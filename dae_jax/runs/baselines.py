"""Classifiers that take seconds, from scikit-learn, for a trained network to be compared with.

All learn from the same labelled images as the network, with pixels scaled as the network sees them,
and label spreading also from images without labels. What each of them has to choose (a penalty, a
number of neighbours) is chosen by cross-validation on the labelled images.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dae_jax import autoencoder
from dae_jax.datasets import Split
from dae_jax.rows import AnyRows

__all__ = ["NAMES", "Result", "predict"]

NAMES = (
    "majority class",
    "logistic regression",
    "nearest neighbours",
    "SVM, RBF kernel",
    "label spreading",
)
"""The classifiers, in the order of the table."""
FOLDS = 5
MOST, MOST_SEARCHED = 5_000, 1_000
"""Images that a baseline learns from at most, and those that its choices are made with."""


class Result(NamedTuple):
    """The predictions of one baseline, and how long it took to learn and to predict."""

    name: str
    predicted: np.ndarray  # (n,), 0 .. K-1
    seconds: float


def predict(
    train: Split,
    unlabelled: AnyRows,
    images: AnyRows,
    pixel_scale: float = 255.0,
    names: Sequence[str] = NAMES,
) -> list[Result]:
    """Train baselines and predict the classes of images.

    Args:
        train: Labelled images, (n, pixels), of at least two classes; the first `MOST` are used.
        unlabelled: Images without labels, (m, pixels); may be empty; the first `MOST` are used.
        images: Images to predict.
        pixel_scale: Divisor of integer pixels.
        names: The baselines.

    Returns:
        One result per name.
    """

    def scaled(x: np.ndarray) -> np.ndarray:
        return np.asarray(autoencoder.pixels(x, pixel_scale))

    assert train.labels is not None
    labels = np.asarray(train.labels[:MOST])
    x, more, new = scaled(train.images[:MOST]), scaled(unlabelled[:MOST]), scaled(images[:])
    results = []
    for name in names:
        began = time.perf_counter()
        with warnings.catch_warnings():  # as of a search that has not converged, which still counts
            warnings.simplefilter("ignore")
            predicted = _MAKE[name](x, labels, more, new)
        results.append(Result(name, predicted, time.perf_counter() - began))
    return results


def _majority(x: np.ndarray, labels: np.ndarray, more: np.ndarray, new: np.ndarray) -> Any:
    return np.full(len(new), np.bincount(labels).argmax())


def _logistic(x: np.ndarray, labels: np.ndarray, more: np.ndarray, new: np.ndarray) -> Any:
    from sklearn.linear_model import LogisticRegression

    grid = {"C": [0.001, 0.01, 0.1, 1.0]}
    return _searched(LogisticRegression(max_iter=1_000), grid, x, labels, new)


def _neighbours(x: np.ndarray, labels: np.ndarray, more: np.ndarray, new: np.ndarray) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    few = [1, *(k for k in (3, 5) if k <= len(x) // 2)]  # half are left in each of two folds
    return _searched(KNeighborsClassifier(), {"n_neighbors": few}, x, labels, new)


def _svm(x: np.ndarray, labels: np.ndarray, more: np.ndarray, new: np.ndarray) -> Any:
    from sklearn.svm import SVC

    grid = {"C": [1.0, 10.0], "gamma": [c / x.var() / x.shape[1] for c in (0.3, 1.0, 3.0)]}
    return _searched(SVC(), grid, x, labels, new)


def _spreading(x: np.ndarray, labels: np.ndarray, more: np.ndarray, new: np.ndarray) -> Any:
    from sklearn.semi_supervised import LabelSpreading

    every = np.concatenate([x, more])
    partly = np.concatenate([labels, np.full(len(more), -1)])
    neighbours = min(7, len(every) - 1)
    return LabelSpreading(kernel="knn", n_neighbors=neighbours).fit(every, partly).predict(new)


def _searched(
    model: Any, grid: dict[str, list[Any]], x: np.ndarray, labels: np.ndarray, new: np.ndarray
) -> Any:
    """Choose by cross-validation, if each class has enough images; then predict."""
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    some, their_labels = x[:MOST_SEARCHED], labels[:MOST_SEARCHED]
    counts = np.bincount(their_labels)
    fewest = int(counts[counts > 0].min())
    if fewest < 2:
        middle = {name: values[len(values) // 2] for name, values in grid.items()}
        return model.set_params(**middle).fit(x, labels).predict(new)
    folds = StratifiedKFold(min(FOLDS, fewest), shuffle=True, random_state=0)
    search = GridSearchCV(model, grid, cv=folds, refit=False).fit(some, their_labels)
    return model.set_params(**search.best_params_).fit(x, labels).predict(new)


_MAKE: dict[str, Callable[..., Any]] = dict(
    zip(NAMES, (_majority, _logistic, _neighbours, _svm, _spreading), strict=True)
)
