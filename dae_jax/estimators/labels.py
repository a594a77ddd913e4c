"""Classifiers of rows of which some have labels: the part that does not depend on the network."""

from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from dae_jax import evaluation
from dae_jax.estimators import rows
from dae_jax.estimators.rows import Learnt, Rows
from dae_jax.runs import saved
from dae_jax.stacked import Classifier

__all__ = ["LabelledRows", "marked"]


class LabelledRows(ClassifierMixin, Rows):
    """Base of the classifiers: labels, early stopping, and predictions of a `stacked.Classifier`.

    A subclass has the arguments `unlabelled`, `standardize`, `early_stopping`,
    `validation_fraction`, `warm_start` and `random_state`, and trains in `_train`.
    """

    unlabelled: Any
    standardize: Any
    early_stopping: Any
    validation_fraction: Any
    warm_start: Any
    random_state: Any
    _activation: str  # of the hidden layers
    _model: Classifier

    def fit(self, X: Any, y: Any) -> "LabelledRows":
        """Train on rows X, (n, n_features), with labels y, (n,); see `unlabelled`."""
        afresh = not (self.warm_start and hasattr(self, "_model"))
        X, y = self._validated(X, y, reset=afresh)
        X = rows.numbers(X)
        classes = self._classes(y, afresh)
        if afresh:
            self._seed, self._epochs = rows.seed_of(self.random_state), 0
            self._choose_scale(X)
        self._train(self._scaled(X), classes, afresh)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each row, (n,)."""
        best = self._logits(X).argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """The probability of each class, (n, n_classes), in the order of `classes_`."""
        return softmax(self._logits(X), axis=1)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of rows whose class is predicted, of those that have a label."""
        y = column_or_1d(y)
        own = ~marked(y, self.unlabelled)
        if not own.any():
            raise ValueError(f"y has no label to score by: every row is {self.unlabelled!r}")
        weights = None if sample_weight is None else np.asarray(sample_weight)[own]
        return float(accuracy_score(_plain(y[own]), self.predict(X)[own], sample_weight=weights))

    @property
    def coefs_(self) -> list[NDArray[Any]]:
        """The weights of each layer, (inputs, units), from the columns up; the last is a softmax.

        The columns are standardised before, unless `mean_` is None.
        """
        return [np.asarray(layer.W) for layer in (*self._model.hidden, self._model.top)]

    @property
    def intercepts_(self) -> list[NDArray[Any]]:
        """The biases of each layer, (units,)."""
        return [np.asarray(layer.b) for layer in (*self._model.hidden, self._model.top)]

    def _train(self, X: NDArray[np.float32], classes: NDArray[np.int32], afresh: bool) -> None:
        """Train on scaled rows and their classes, -1 for none, and set `_model`."""
        raise NotImplementedError

    def _logits(self, X: Any) -> NDArray[Any]:
        """The inputs of the softmax, in the precision of the rows."""
        check_is_fitted(self)
        X = rows.numbers(self._validated(X, reset=False))
        logits = saved.logits(self._activation)
        outputs = evaluation.apply(logits, self._model, rows.filled(self._scaled(X)))
        return outputs.astype(X.dtype)

    def _classes(self, y: NDArray[Any], afresh: bool) -> NDArray[np.int32]:
        """The class of each row, 0 .. K-1, and -1 for rows without a label."""
        without, marker = marked(y, self.unlabelled), self.unlabelled
        if without.all():
            raise ValueError(
                f"y has no labels, since every row is {marker!r}: label some rows of each class"
            )
        labels = _plain(y[~without])
        as_text = labels.dtype.kind in "OUT" and not isinstance(marker, str)
        if marker is not None and as_text and str(marker) in labels:
            raise ValueError(
                f"y has the text {str(marker)!r}, but {marker!r}, a number, marks rows without a "
                f"label: pass unlabelled={str(marker)!r}, or unlabelled=None if it is a class"
            )
        check_classification_targets(labels)
        found = np.unique(labels)
        if afresh and len(found) < 2:
            hint = "label rows of another one"
            if without.any():
                hint += f", or pass unlabelled=None if {marker!r} is a class"
            raise ValueError(f"y has only one class, {found.tolist()[0]!r}: {hint}")
        if afresh:
            self.classes_ = found
        elif not np.isin(found, self.classes_).all():
            raise ValueError(
                f"with warm_start, y has to have the classes of the fit before, {self.classes_}, "
                f"but it has {found}: pass warm_start=False"
            )
        classes = np.full(len(y), -1, np.int32)
        classes[~without] = np.searchsorted(self.classes_, labels)
        return classes

    def _hold_out(
        self, X: NDArray[Any], classes: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], Any]:
        """The labelled rows and their classes, and those held out; None without early stopping."""
        own = classes >= 0
        X, classes = X[own], classes[own]
        if not self.early_stopping:
            return X, classes, None
        parts: Any = train_test_split(
            X,
            classes,
            test_size=self.validation_fraction,
            random_state=self._seed,
            stratify=classes,
        )
        return parts[0], parts[2], (parts[1], parts[3])

    def _error(self, model: Classifier, held_out: tuple[NDArray[Any], NDArray[Any]]) -> float:
        """The error rate on rows held out."""
        return evaluation.error_rate(saved.logits(self._activation), model, *held_out)

    def _keep(self, learnt: Learnt) -> None:
        """Set what an estimator says of its last training."""
        self.loss_curve_, self.n_iter_ = learnt.costs, len(learnt.costs)
        self._epochs += self.n_iter_
        if self.early_stopping:
            self.validation_scores_ = [1 - error for error in learnt.errors]
            self.best_validation_score_ = max(self.validation_scores_)


def marked(y: NDArray[Any], marker: Any) -> NDArray[np.bool_]:
    """Whether a label is that which marks rows without one, (n,); none is if there is no marker.

    >>> marked(np.array(["cat", -1, "dog"], object), -1).tolist()
    [False, True, False]
    """
    # label by label, since NumPy compares text and numbers as a whole, or warns
    return np.array([marker is not None and label == marker for label in y.tolist()], bool)


def _plain(labels: NDArray[Any]) -> NDArray[Any]:
    """Labels as an array of text or of numbers; those of type object may be either.

    Raises:
        ValueError: Some of them are text, and others are not.
    """
    if labels.dtype != object:
        return labels
    values = labels.tolist()
    if all(isinstance(value, str) for value in values):
        return labels
    if all(isinstance(value, Number | np.generic) for value in values):
        return np.array(values)
    types = ", ".join(sorted({type(value).__name__ for value in values}))
    raise ValueError(
        f"y has labels of several types ({types}): use text for all classes, or numbers, and set "
        "unlabelled to the value that marks rows without a label"
    )
