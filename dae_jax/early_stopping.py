"""Early stopping by the tutorial's patience rule, with the best parameters kept.

The rule (deeplearning.net, "Getting Started", section "Early-Stopping") counts minibatches. Its
patience begins at ten epochs of them. An error below .995 of the best one so far extends it to
twice the minibatches seen so far. Training stops when it is used up. The original then reports the
best error but keeps the last weights; here the parameters of the best epoch are kept and returned.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dae_jax.training import Report, Watch, member

__all__ = ["Best", "Patience", "Several", "as_sweep", "begin", "exhausted", "look"]

PyTree = Any
PATIENCE_EPOCHS = 10
PATIENCE_INCREASE = 2
IMPROVEMENT = 0.995


class Patience(NamedTuple):
    """The state of the rule, for each member (the models of a sweep, or just one)."""

    patience: Int[np.ndarray, "members"]  # in minibatches
    best_error: Float[np.ndarray, "members"]  # on the validation images, a share in [0, 1]
    best_epoch: Int[np.ndarray, "members"]  # counted from 1; 0 before the first


def begin(n_members: int, updates: int, patience: int | None = None) -> Patience:
    """The state before the first epoch.

    Args:
        n_members: Number of models.
        updates: Minibatches per epoch.
        patience: Minibatches to train for at least; None for those of ten epochs.
    """
    patience = PATIENCE_EPOCHS * updates if patience is None else patience
    return Patience(
        np.full(n_members, patience, np.int64),
        np.full(n_members, np.inf),
        np.zeros(n_members, np.int64),
    )


def exhausted(rule: Patience, epoch: int, updates: int) -> Bool[np.ndarray, "members"]:
    """Whether training stops before the errors of the epoch after `epoch` would be known.

    The original checks its patience after every minibatch, but computes errors only after the last
    one of an epoch (and before it checks the patience). The updates between the last errors and
    the end change nothing, since the best parameters are older: whole epochs are enough.
    """
    last_before_the_next_look = (epoch + 1) * updates - 2  # minibatches are counted from 0
    return rule.patience <= last_before_the_next_look


def look(
    rule: Patience, epoch: int, updates: int, errors: Float[np.ndarray, "members"]
) -> tuple[Patience, Bool[np.ndarray, "members"]]:
    """Update the rule with the errors after `epoch`.

    Returns:
        The new state, and which of the members still in training have improved on their best error.
    """
    in_training = ~exhausted(rule, epoch - 1, updates)
    better = in_training & (errors < rule.best_error)
    clearly = better & (errors < IMPROVEMENT * rule.best_error)
    last = epoch * updates - 1
    extended = np.maximum(rule.patience, PATIENCE_INCREASE * last)
    return Patience(
        np.where(clearly, extended, rule.patience),
        np.where(better, errors, rule.best_error),
        np.where(better, epoch, rule.best_epoch),
    ), better


class Best(Watch):
    """A watch that computes validation errors after each epoch and keeps the best parameters.

    In a sweep every member has a rule of its own, and is `finished` when its training alone would
    stop. A member that was not trained in an epoch, whose cost is NaN, has no error.

    Args:
        params: The members' parameters before the first epoch, with a leading axis of members.
        errors: ``errors(i, params)``, the share of validation images, in [0, 1], that member i
            misclassifies with these parameters.
        updates: Minibatches per epoch; None for no patience: train all epochs, keep the best.
        patience: See `begin`.
    """

    def __init__(
        self,
        params: PyTree,
        errors: Callable[[int, PyTree], float],
        updates: int | None = None,
        patience: int | None = None,
    ):
        n_members = jax.tree.leaves(params)[0].shape[0]
        self._errors, self._updates = errors, 1 if updates is None else updates
        rule = begin(n_members, self._updates, patience)
        if updates is None:
            rule = rule._replace(patience=np.full(n_members, np.iinfo(np.int64).max))
        self.kept = rule, jax.tree.map(np.array, params)

    @property
    def rule(self) -> Patience:
        """The state of the patience rule."""
        return self.kept[0]

    @property
    def params(self) -> PyTree:
        """The best parameters so far, of all members."""
        return self.kept[1]

    def after(self, report: Report) -> dict[str, Any]:
        """Compute the errors after an epoch; returns them as ``valid_error``, for the metrics."""
        params = report.state.params
        errors = np.full(len(self.rule.patience), np.nan)
        for i in np.flatnonzero(~np.isnan(report.cost)).tolist():
            errors[i] = self._errors(i, member(params, i))
        rule, better = look(self.rule, report.epoch, self._updates, errors)

        def choose(best: np.ndarray, now: Array) -> np.ndarray:
            chosen = better.reshape(-1, *[1] * (best.ndim - 1))
            return np.where(chosen, now, best) if better.any() else best

        self.kept = rule, jax.tree.map(choose, self.params, report.state.params)
        return {"valid_error": errors.tolist()}

    def finished(self, epoch: int) -> Bool[np.ndarray, "members"]:
        """Members whose patience is exhausted after `epoch`."""
        return exhausted(self.rule, epoch, self._updates)


def as_sweep(report: Report) -> Report:
    """The report of one model as that of a sweep with one member, for `Best`."""
    params = jax.tree.map(lambda leaf: leaf[None], report.state.params)
    return report._replace(cost=report.cost[None], state=report.state._replace(params=params))


class Several(Watch):
    """Several watches of one training, in which a member is finished when it is for all of them.

    Args:
        watches: At least one, one for each set of validation images.
    """

    def __init__(self, watches: Sequence[Best]):
        self.watches = watches

    @property
    def kept(self) -> PyTree:
        """The states of all watches, in turn."""
        return tuple(watch.kept for watch in self.watches)

    @kept.setter
    def kept(self, values: PyTree) -> None:
        """Give each watch its own state."""
        for watch, value in zip(self.watches, values, strict=True):
            watch.kept = value

    def after(self, report: Report) -> dict[str, Any]:
        """Let each watch look; the names of what the second one adds end in ``_2``, and so on."""
        added = {}
        for i, watch in enumerate(self.watches, 1):
            suffix = f"_{i}" if i > 1 else ""
            added |= {f"{name}{suffix}": value for name, value in watch.after(report).items()}
        return added

    def finished(self, epoch: int) -> Bool[np.ndarray, "members"]:
        """Members that are finished for all watches."""
        return np.all([watch.finished(epoch) for watch in self.watches], axis=0)
