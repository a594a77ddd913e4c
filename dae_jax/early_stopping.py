"""When to stop, and which parameters to keep: the tutorial's patience rule, minus its mistake.

The rule (deeplearning.net, "Getting Started", section "Early-Stopping") counts minibatches. It
begins with a patience of ten epochs of them; an error below .995 of the best one so far extends it
to twice the minibatches behind; training stops as soon as it is used up. Here the parameters of the
best epoch are kept, too, and are what training returns: a best score next to the last weights
would describe no model.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dae_jax.runs.stage import Watch
from dae_jax.training import Report, member

PyTree = Any
PATIENCE_EPOCHS = 10
PATIENCE_INCREASE = 2
IMPROVEMENT = 0.995


class Patience(NamedTuple):
    """What the rule remembers of each of its members (the models of a sweep, or just one)."""

    patience: Int[np.ndarray, "members"]  # in minibatches
    best_error: Float[np.ndarray, "members"]  # on the validation images, a share in [0, 1]
    best_epoch: Int[np.ndarray, "members"]  # counted from 1; 0 before the first


def begin(n_members: int, updates: int) -> Patience:
    """Before the first epoch.

    Args:
        n_members: How many models there are.
        updates: Minibatches an epoch.
    """
    return Patience(
        np.full(n_members, PATIENCE_EPOCHS * updates, np.int64),
        np.full(n_members, np.inf),
        np.zeros(n_members, np.int64),
    )


def exhausted(rule: Patience, epoch: int, updates: int) -> Bool[np.ndarray, "members"]:
    """Whether training stops before the errors of the epoch after `epoch` would be known.

    The original looks at its patience after every minibatch, but at the errors only after the last
    one of an epoch (and there at the errors first). What it trains between the last look and its
    end changes nothing, since the best parameters are older: so whole epochs are enough.
    """
    last_before_the_next_look = (epoch + 1) * updates - 2  # minibatches are counted from 0
    return rule.patience <= last_before_the_next_look


def look(
    rule: Patience, epoch: int, updates: int, errors: Float[np.ndarray, "members"]
) -> tuple[Patience, Bool[np.ndarray, "members"]]:
    """What the errors after `epoch` change.

    Returns:
        The rule after the look; and which members, of those still in training, are at their best.
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
    """Watches a training: asks for the errors after each epoch, keeps the best parameters.

    In a sweep every member has a rule of its own; training goes on until the last one stops, and
    what happens to the others meanwhile does not count, as if each had been trained alone.

    Args:
        params: The members' parameters before the first epoch, with a leading axis of members.
        errors: ``errors(i, params)``, the share of validation images, in [0, 1], that the
            parameters of member i give a wrong class.
        updates: Minibatches an epoch.
    """

    def __init__(self, params: PyTree, errors: Callable[[int, PyTree], float], updates: int):
        n_members = jax.tree.leaves(params)[0].shape[0]
        self._errors, self._updates = errors, updates
        self.kept = begin(n_members, updates), jax.tree.map(np.array, params)

    @property
    def rule(self) -> Patience:
        """What the rule has seen."""
        return self.kept[0]

    @property
    def params(self) -> PyTree:
        """The best parameters so far, of all members."""
        return self.kept[1]

    def after(self, report: Report) -> dict[str, Any]:
        """Look at the errors after an epoch; returns what the metrics say of them."""
        n_members = len(self.rule.patience)
        params = report.state.params
        errors = np.array([self._errors(i, member(params, i)) for i in range(n_members)])
        rule, better = look(self.rule, report.epoch, self._updates, errors)

        def choose(best: np.ndarray, now: Array) -> np.ndarray:
            chosen = better.reshape(-1, *[1] * (best.ndim - 1))
            return np.where(chosen, now, best) if better.any() else best

        self.kept = rule, jax.tree.map(choose, self.params, report.state.params)
        return {"valid_error": errors.tolist()}

    def done(self, epoch: int) -> bool:
        """Whether the patience of all members is exhausted after `epoch`."""
        return bool(exhausted(self.rule, epoch, self._updates).all())
