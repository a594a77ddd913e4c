"""Where experiments are made: data, seeds, what was trained, and how all of it is trained.

A `Model` is a frozen declaration with one method, ``train(lab)``, which gives one `Fitted` a seed;
those that there are stand in `models`. All that is trained at all is trained by `training.fit`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from dae_jax import console as command
from dae_jax import training
from dae_jax.errors import InputError
from dae_jax.experiments.data import Prepared

PyTree = Any
CHUNK = 1_000  # images that go through a model at once, outside training


@dataclass(frozen=True)
class Recipe:
    """How something is trained."""

    epochs: int
    batch_size: int
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    decay: Literal["none", "cosine"] = "none"
    """``"cosine"``: the rate falls to zero along half a cosine, until the last update."""
    shuffle: bool = True


@dataclass(frozen=True)
class Fitted:
    """A model that one seed came to: what it computes, with what, and how it got there."""

    params: PyTree
    _encode: Callable[..., Any] | None = None
    _decode: Callable[..., Any] | None = None
    _logits: Callable[..., Any] | None = None
    costs: list[float] = field(default_factory=list)  # of each epoch
    valid: list[float] = field(default_factory=list)  # validation cost or error after each epoch
    best_epoch: int | None = None  # the epoch whose parameters these are, where that was chosen

    def encode(self, x: np.ndarray) -> np.ndarray:
        """The codes of images."""
        return in_chunks(self._encode, self.params, x)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The images of codes."""
        return in_chunks(self._decode, self.params, codes)

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        """What comes back of images."""
        return self.decode(self.encode(x))

    def classify(self, x: np.ndarray) -> np.ndarray:
        """The likeliest class of images."""
        return in_chunks(self._logits, self.params, x).argmax(axis=1)


def in_chunks(function: Callable[..., Any] | None, params: PyTree, x: np.ndarray) -> np.ndarray:
    """``function(params, x)`` of many images, a part at a time, so that memory suffices."""
    assert function is not None, "this kind of model cannot do that"
    parts = [np.asarray(function(params, x[i : i + CHUNK])) for i in range(0, len(x), CHUNK)]
    return np.concatenate(parts)


@runtime_checkable
class Model(Protocol):
    """A declaration of something that can be trained."""

    def train(self, lab: "Laboratory", name: str) -> list[Fitted]:
        """One `Fitted` a seed."""
        ...


@dataclass
class Laboratory:
    """The data, the seeds, and the models trained so far, by name."""

    data: Prepared
    seeds: Sequence[int]
    epochs: int | None = None  # instead of those of the recipes, to try something out
    fitted: dict[str, list[Fitted]] = field(default_factory=dict)

    def keys(self, stage: int = 0) -> list[jax.Array]:
        """A key a seed."""
        return [jax.random.fold_in(jax.random.key(seed), stage) for seed in self.seeds]

    def fit(
        self,
        name: str,
        cost: Callable[..., Any],
        params: Sequence[PyTree],
        data: PyTree,
        recipe: Recipe,
        *,
        stage: int = 1,
        own_data: bool = False,
        look: Callable[[PyTree], float] | None = None,
        choose: bool = False,
    ) -> "Trained":
        """Train all seeds in one program.

        Args:
            name: What the progress calls it.
            cost: A `jax.tree_util.Partial`.
            params: Each seed's first parameters.
            data: See `training.fit`.
            recipe: How.
            stage: Which of a seed's `keys` this training draws from.
            own_data: Whether each seed has data of its own.
            look: What to ask of each seed's parameters after each epoch.
            choose: Whether what `look` says is an error, whose lowest decides which are kept.

        Raises:
            InputError: Training diverged.
        """
        epochs = recipe.epochs if self.epochs is None else self.epochs
        n = jax.tree.leaves(data)[0].shape[1 if own_data else 0]
        batch = min(recipe.batch_size, n)
        optimizer = training.optimiser(recipe.optimizer, recipe.learning_rate)
        if recipe.decay == "cosine":
            import optax

            falling = optax.cosine_decay_schedule(1.0, epochs * (n // batch))
            optimizer = optax.chain(optimizer, optax.scale_by_schedule(falling))
        # The state is donated: what the caller gave stays the caller's.
        states = [training.start_state(jax.tree.map(jnp.array, p), optimizer) for p in params]
        state = training.stack(states)
        each = range(len(params))
        best: list[tuple[float, int | None, PyTree]] = [(math.inf, None, p) for p in params]
        reports = training.fit(
            training.stack([cost for _ in each]),
            state,
            data,
            jnp.stack(self.keys(stage)),
            optimizer=optimizer,
            epochs=epochs,
            batch_size=batch,
            shuffle=recipe.shuffle,
            own_data=own_data,
        )
        costs: list[list[float]] = [[] for _ in each]
        seen: list[list[float]] = [[] for _ in each]
        last: PyTree = params
        with command.Progress(epochs, title=name) as progress:
            for told in reports:
                if not told.finite:
                    raise InputError(
                        f"{name}: training diverged in epoch {told.epoch}",
                        do=f"lower its learning rate, which is {recipe.learning_rate:g}",
                    )
                now = [training.member(told.state.params, i) for i in each]
                values = [look(p) if look else math.nan for p in now]
                for i, (value, mean) in enumerate(zip(values, told.cost.tolist(), strict=True)):
                    costs[i].append(mean)
                    seen[i].append(value)
                    if choose and value < best[i][0]:
                        best[i] = value, told.epoch, jax.device_get(now[i])
                words = " ".join(f"{value:.5g}" for value in (values if look else told.cost))
                speed = n / told.seconds * len(now)
                progress.tell(told.epoch, words, speed, (epochs - told.epoch) * told.seconds)
                last = told.state.params
        found = [jax.device_get(training.member(last, i)) for i in each]
        if choose:
            found = [kept for _, _, kept in best]
        return Trained(found, costs, seen, [epoch for _, epoch, _ in best])


class Trained(NamedTuple):
    """What training gave, a value a seed."""

    params: list[PyTree]
    costs: list[list[float]]
    seen: list[list[float]]
    best_epoch: list[int | None]
