"""Labels, and their absence."""

import numpy as np
import pytest

from dae_jax.estimators import StackedDenoisingClassifier
from dae_jax.estimators.labels import marked

pytestmark = pytest.mark.usefixtures("standard_promotion")

X = np.random.default_rng(0).random((20, 4)).astype(np.float32)


def fitted(y, unlabelled=-1, **how):
    how = dict(pretrain_max_iter=0, max_iter=1, random_state=0) | how
    return StackedDenoisingClassifier((3,), unlabelled=unlabelled, **how).fit(X, y)


def repeated(*labels, dtype=None):
    return np.array((labels * 20)[:20], dtype)


@pytest.mark.parametrize(
    ("y", "unlabelled", "classes"),
    [
        (repeated(0, 1, -1), -1, [0, 1]),
        (repeated(0, 1, -1), None, [-1, 0, 1]),
        (repeated(1, -1), None, [-1, 1]),
        (repeated(2.0, 3.0, -1.0), -1, [2, 3]),
        (repeated(True, False), -1, [False, True]),
        (repeated("cat", "dog", -1, dtype=object), -1, ["cat", "dog"]),
        (repeated(0, 1, -1, dtype=object), -1, [0, 1]),
        (repeated("cat", "dog"), -1, ["cat", "dog"]),
        (repeated("cat", "dog", "-1"), "-1", ["cat", "dog"]),
        (repeated("1", "-1"), None, ["-1", "1"]),
        (repeated("cat", "dog", "?"), "?", ["cat", "dog"]),
        (repeated(0, 1, 99), 99, [0, 1]),
    ],
)
def test_the_classes_are_those_of_the_labelled_rows(y, unlabelled, classes):
    own = fitted(y, unlabelled)
    assert own.classes_.tolist() == classes
    assert set(own.predict(X)) <= set(classes)
    labelled = ~marked(y, unlabelled)
    expected = (own.predict(X)[labelled] == y[labelled]).mean()
    assert own.score(X, y) == pytest.approx(expected)


def test_a_score_leaves_out_rows_without_labels():
    own, y = fitted(repeated(0, 1)), repeated(0, 1)
    y[10:] = -1
    right = (own.predict(X[:10]) == y[:10]).astype(float)
    assert own.score(X, y) == pytest.approx(right.mean())
    weights = np.arange(20.0)
    weighted = np.average(right, weights=weights[:10])
    assert own.score(X, y, sample_weight=weights) == pytest.approx(weighted)
    with pytest.raises(ValueError, match="no label to score by"):
        own.score(X, np.full(20, -1))


@pytest.mark.parametrize(
    ("y", "unlabelled", "words"),
    [
        (np.full(20, -1), -1, "every row is -1: label some rows"),
        (np.zeros(20, int), -1, "only one class, 0: label rows of another one$"),
        (repeated(1, -1), -1, "only one class, 1: .* or pass unlabelled=None if -1 is a class"),
        (repeated("cat", "dog", -1), -1, "pass unlabelled='-1', or unlabelled=None"),
        (repeated("cat", "dog", 3, dtype=object), -1, r"several types \(int, str\)"),
        (repeated("cat", "dog", None, dtype=object), -1, r"several types \(NoneType, str\)"),
        (repeated("cat", np.nan, dtype=object), -1, "contains NaN"),
        (X[:, 0], -1, "Unknown label type"),
        (repeated(0, 1)[:19], -1, "inconsistent numbers of samples"),
    ],
)
def test_labels_that_do_not_make_classes_are_a_value_error(y, unlabelled, words):
    with pytest.raises(ValueError, match=words) as error:
        fitted(y, unlabelled)
    assert "\n" not in str(error.value)


def test_rows_are_held_out_of_those_with_labels_only():
    y = repeated(0, 1)
    y[12:] = -1
    how = dict(early_stopping=True, max_iter=3, n_iter_no_change=3, validation_fraction=0.5)
    own = fitted(y, **how)
    assert {round(6 * score, 9) % 1 for score in own.validation_scores_} == {0}  # of six rows
    assert not hasattr(fitted(y), "validation_scores_")
