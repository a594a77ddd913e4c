"""Models of the experiments: the declarations, and how each of them is trained.

A `Model` is a frozen declaration with one method, ``train(setup, name)``, which returns one
`Fitted` per seed. All of them are trained by `runs.stage.train`, all seeds in one program.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dae_jax import autoencoder, corruption, deep, evaluation, objectives, stacked, training
from dae_jax.deep import Architecture
from dae_jax.early_stopping import Best
from dae_jax.errors import require
from dae_jax.experiments.data import Prepared
from dae_jax.runs import stage
from dae_jax.runs.stage import Place, Stage
from dae_jax.training import Report, Shuffle, Watch, member

__all__ = [
    "PCA",
    "Autoencoder",
    "Finetuned",
    "Fitted",
    "Model",
    "Network",
    "Recipe",
    "Setup",
    "Stack",
    "fit",
]

PyTree = Any
Function = Callable[[np.ndarray], np.ndarray]


def _missing(x: np.ndarray) -> np.ndarray:
    raise NotImplementedError("this kind of model has no such function")


@dataclass(frozen=True)
class Recipe:
    """The optimisation of a model."""

    epochs: int | None
    batch_size: int
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    decay: Literal["none", "cosine"] = "none"
    """``"cosine"``: the learning rate falls to zero along half a cosine, until the last update."""
    shuffle: Shuffle = True
    steps: int | None = None
    """Number of minibatches in all, instead of epochs."""

    def stage(self, n_images: int, place: Place, *, own_data: bool = False) -> Stage:
        """The stage that trains a model on so many images by this recipe."""
        batch_size = min(self.batch_size, n_images)
        per_epoch = n_images // batch_size
        steps = (self.epochs or 0) * per_epoch if self.steps is None else self.steps
        optimizer = training.optimiser(self.optimizer, self.learning_rate)
        if self.decay == "cosine":
            falling = optax.cosine_decay_schedule(1.0, steps)
            optimizer = optax.chain(optimizer, optax.scale_by_schedule(falling))
        return Stage(
            optimizer,
            -(-steps // per_epoch),
            batch_size,
            self.shuffle,
            own_data,
            f"its learning rate, which is {self.learning_rate:g}",
            place,
            steps,
        )


@dataclass(frozen=True)
class Fitted:
    """A trained model of one seed: its parameters, and functions of images that use them."""

    params: PyTree
    encode: Function = _missing  # images to codes
    decode: Function = _missing  # codes to images
    logits: Function = _missing  # images to the inputs of a softmax
    costs: list[float] = field(default_factory=list)  # of each epoch
    valid: list[float] = field(default_factory=list)  # validation cost or error after each epoch
    best_epoch: int | None = None  # the epoch of these parameters, if validation chose it

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        """The reconstructions of images."""
        return self.decode(self.encode(x))

    def classify(self, x: np.ndarray) -> np.ndarray:
        """The most probable classes of images."""
        return self.logits(x).argmax(axis=1)


@dataclass(frozen=True)
class Setup:
    """All that a model's training may need: the data, the seeds, and the models before it."""

    data: Prepared
    seeds: Sequence[int]
    epochs: int | None = None  # instead of those of the recipes, to try something out
    fitted: Mapping[str, list[Fitted]] = field(default_factory=dict)
    folder: Path | None = None  # of the checkpoints, to resume from; None to write none
    command: str = ""  # that resumes

    def place(self, title: str) -> Place:
        """The place of one training, resumed if it was interrupted."""
        folder = None if self.folder is None else self.folder / re.sub(r"[^a-z0-9]+", "_", title)
        return Place(title, folder, folder is not None, self.command)

    def keys(self, stage: int = 0) -> list[jax.Array]:
        """One key per seed, for one of its trainings."""
        return [jax.random.fold_in(jax.random.key(seed), stage) for seed in self.seeds]

    def recipe(self, recipe: Recipe) -> Recipe:
        """The recipe, with the number of epochs of this setup if there is one."""
        return recipe if self.epochs is None else replace(recipe, epochs=self.epochs, steps=None)


@runtime_checkable
class Model(Protocol):
    """A declaration of a model that can be trained."""

    def train(self, setup: Setup, name: str) -> list[Fitted]:
        """Train; returns one `Fitted` per seed."""
        ...


class History(NamedTuple):
    """Each seed's last parameters, and its training and validation costs after each epoch."""

    params: list[PyTree]
    costs: list[list[float]]
    valid: list[list[float]]


def fit(
    how: Stage,
    cost: Callable[..., Any],
    params: Sequence[PyTree],
    data: PyTree,
    keys: Sequence[jax.Array],
    watch: Watch | None = None,
) -> History:
    """Train all seeds in one program.

    Args:
        how: See `runs.stage.train`.
        cost: The cost of every seed.
        params: Each seed's initial parameters; copied.
        data: See `training.fit`.
        keys: One key per seed.
        watch: See `runs.stage.train`; the validation errors or costs that it adds to the metrics
            are returned.
    """
    each = range(len(params))
    trained = stage.train(
        how,
        *training.sweep([cost for _ in each], params, how.optimizer),
        data,
        jnp.stack(keys),
        watch,
    )
    if trained is None:  # after Ctrl-C, with a checkpoint
        raise KeyboardInterrupt
    last = trained.state.params
    costs = [row.get("costs", [row["cost"]]) for row in trained.rows]
    unknown = [math.nan for _ in each]
    valid = [row.get("valid_error", row.get("valid_cost", unknown)) for row in trained.rows]
    return History(
        [jax.device_get(member(last, i)) for i in each],
        [[of_epoch[i] for of_epoch in costs] for i in each],
        [[of_epoch[i] for of_epoch in valid] for i in each],
    )


class ValidCost(Watch):
    """A watch that computes the cost of held-out images after each epoch."""

    def __init__(self, cost: Callable[[PyTree], float], n_members: int):
        self._cost, self._n_members = cost, n_members

    def after(self, report: Report) -> dict[str, Any]:
        """Compute the costs of all members."""
        each = range(self._n_members)
        return {"valid_cost": [self._cost(member(report.state.params, i)) for i in each]}


@dataclass(frozen=True)
class Autoencoder:
    """An autoencoder, trained from initial weights or from a pretrained stack."""

    architecture: Architecture
    recipe: Recipe
    objective: str = "cross-entropy"
    noise: str = "masking"
    """A name in `corruption.NOISES`; or ``"shared"``, one vector of Gaussian noise for all images
    of a minibatch; or ``"fixed"``, Gaussian noise that is drawn once, before training, with the
    noisy images clipped to [0, 1]."""
    level: float | None = None
    l1: float | None = None
    kl: tuple[float, float] | None = None
    contract: float | None = None
    weight_decay: float | None = None
    gain: float = 1.0
    """See `deep.init`."""
    tutorial_weights: bool = False
    """Whether to use the tutorial's own initial weights, for one tied layer."""
    zero_decoder: bool = False
    """Whether an untied decoder is zero initially."""
    code_bias: float = 0.0
    """The initial biases of the code; with zero, a few ReLU units may all be dead initially."""
    clipped: bool = False
    """Whether the cost is `clipped_cross_entropy`."""
    after: "Stack | None" = None
    """A stack to pretrain first and to unroll."""

    def train(self, setup: Setup, name: str) -> list[Fitted]:
        """Train; returns one `Fitted` per seed."""
        architecture = self.architecture
        deep.check(architecture, self.objective)
        seeds = zip(setup.keys(), setup.seeds, strict=True)
        first = [self._first(key, seed) for key, seed in seeds]
        if self.after is not None:
            first = [deep.unroll(layers) for layers in self.after.train(setup, name, architecture)]
        x, unused = jnp.asarray(setup.data.valid.x), setup.keys()[0]  # nothing is corrupted
        clean = jax.jit(replace(self, noise="masking")._function())
        watch = ValidCost(
            lambda params: float(clean(params, x, unused, pixel_scale=jnp.float32(1))),
            len(setup.seeds),
        )
        data: PyTree = setup.data.images
        n, own_data = len(data), self.noise == "fixed"
        if own_data:
            data = self._noisy(setup)
        stage = setup.recipe(self.recipe).stage(n, setup.place(name), own_data=own_data)
        cost = self.cost(setup.data.pixel_scale)
        history = fit(stage, cost, first, data, setup.keys(1), watch)
        encode = partial(deep.encode, architecture=architecture)
        decode = partial(deep.decode, architecture=architecture)
        return [
            Fitted(
                params,
                encode=partial(evaluation.apply, encode, params),
                decode=partial(evaluation.apply, decode, params),
                costs=costs,
                valid=valid,
            )
            for params, costs, valid in zip(*history, strict=True)
        ]

    def cost(self, pixel_scale: float) -> Callable[..., Any]:
        """The cost, with the terms of this model."""
        numbers = {"level": self.level} if self.noise != "fixed" else {}
        terms = ("l1", "kl", "contract", "weight_decay")
        given = {term: getattr(self, term) for term in terms if getattr(self, term) is not None}
        return training.bind(self._function(), pixel_scale=pixel_scale, **numbers, **given)

    def _function(self) -> Callable[..., Any]:
        """The cost, before its numbers are bound."""
        if self.clipped:
            return partial(clipped_cross_entropy, architecture=self.architecture)
        how = {"architecture": self.architecture, "objective": self.objective}
        if self.noise == "shared":
            return partial(shared_noise_cost, **how)
        return partial(deep.cost, **how, noise="masking" if self.noise == "fixed" else self.noise)

    def _noisy(self, setup: Setup) -> tuple[np.ndarray, np.ndarray]:
        """Each seed's noisy images, and the clean ones, (seeds, images, pixels)."""
        x = setup.data.train.x
        noisy = [
            np.asarray(jnp.clip(corruption.gaussian(key, x, self.level or 0.0), 0, 1))
            for key in setup.keys(2)
        ]
        clean = np.broadcast_to(setup.data.images, (len(noisy), *x.shape))
        return np.stack(noisy), clean

    def _first(self, key: jax.Array, seed: int) -> deep.Params:
        architecture = self.architecture
        if self.tutorial_weights:
            dA = autoencoder.init_tutorial(seed, *architecture.sizes)
            return deep.Tied((stacked.Layer(dA.W, dA.b),), (dA.b_prime,))
        params = deep.init(key, architecture, gain=self.gain)
        if self.code_bias:
            *below, (W, b) = params.encoder
            params = params._replace(encoder=(*below, stacked.Layer(W, b + self.code_bias)))
        if self.zero_decoder and isinstance(params, deep.Untied):
            params = params._replace(decoder=jax.tree.map(jnp.zeros_like, params.decoder))
        return params


def shared_noise_cost(
    params: deep.Params,
    batch: Any,
    key: jax.Array,
    *,
    level: jax.Array | None = None,
    pixel_scale: jax.Array,
    **terms: Any,
) -> Any:
    """The cost with one vector of Gaussian noise for all images of the minibatch."""
    x = jnp.asarray(autoencoder.pixels(batch, pixel_scale))
    noise = 0.0 if level is None else level * jax.random.normal(key, x.shape[-1:])
    return deep.cost(params, (x + noise, x), key, pixel_scale=pixel_scale, **terms)


FURTHEST = math.log((1 - 1e-7) / 1e-7)  # the logit of 1 - 1e-7


def clipped_cross_entropy(
    params: deep.Params,
    batch: Any,
    key: jax.Array,
    *,
    architecture: Architecture,
    pixel_scale: jax.Array,
    level: jax.Array | None = None,
    l1: jax.Array | None = None,
) -> Any:
    """The cross-entropy of outputs clipped to [1e-7, 1 - 1e-7], as in Keras.

    So it is bounded even for targets outside [0, 1], and has no gradient where an output is
    clipped.
    """
    x = autoencoder.pixels(batch, pixel_scale)
    h = deep.encode(params, corruption.corrupt(key, x, level), architecture)
    a = jnp.clip(deep.decode_logits(params, h, architecture), -FURTHEST, FURTHEST)
    value = objectives.cross_entropy(a, x)
    return value if l1 is None else value + l1 * objectives.l1(h)


@dataclass(frozen=True)
class Stack:
    """Greedy pretraining: one denoising autoencoder per layer, on the codes of the layer below."""

    recipe: Recipe
    learning_rates: tuple[float, ...]  # of each layer, instead of the recipe's
    level: float  # of masking noise

    def train(self, setup: Setup, name: str, architecture: Architecture) -> list[list[deep.Tied]]:
        """Train; returns each seed's layers, from the pixels up."""
        scale = setup.data.pixel_scale
        layers: list[list[deep.Tied]] = [[] for _ in setup.seeds]
        data: np.ndarray = setup.data.images
        rates = zip(pairwise(architecture.sizes), self.learning_rates, strict=True)
        for k, (sizes, rate) in enumerate(rates):
            code = architecture.encoder[k]
            one = Architecture(sizes, code=code, tied=True)
            recipe = setup.recipe(replace(self.recipe, learning_rate=rate))
            own_data = data.ndim == 3
            n_images = data.shape[1 if own_data else 0]
            gain = 4.0 if code == "sigmoid" else 1.0
            history = fit(
                recipe.stage(n_images, setup.place(f"{name}, layer {k + 1}"), own_data=own_data),
                Autoencoder(one, self.recipe, level=self.level).cost(scale),
                [deep.init(key, one, gain=gain) for key in setup.keys(2 * k + 2)],
                data,
                setup.keys(2 * k + 3),  # 0 and 1 are those of the model that comes after
            )
            encode = partial(deep.encode, architecture=one)
            inputs = data if own_data else [data] * len(setup.seeds)
            for below, params in zip(layers, history.params, strict=True):
                below.append(params)
            pairs = zip(history.params, inputs, strict=True)
            data = np.stack([evaluation.apply(encode, params, x, scale) for params, x in pairs])
        return layers


@dataclass(frozen=True)
class PCA:
    """Principal components, by scikit-learn."""

    n_components: int

    def train(self, setup: Setup, name: str) -> list[Fitted]:
        """Fit once; the result is the same for every seed."""
        from sklearn.decomposition import PCA as Decomposition  # noqa: N811

        pca = Decomposition(self.n_components, svd_solver="covariance_eigh")
        pca.fit(setup.data.train.x)
        fitted = Fitted(pca.components_, encode=pca.transform, decode=pca.inverse_transform)
        return [fitted] * len(setup.seeds)


@dataclass(frozen=True)
class Finetuned:
    """The encoder of a fitted autoencoder with a softmax layer on top, trained with labels."""

    of: str
    recipe: Recipe

    def train(self, setup: Setup, name: str) -> list[Fitted]:
        """Fine-tune; validation chooses the epoch."""
        first = [
            stacked.classifier(fitted.params.encoder, setup.data.n_pixels, setup.data.n_classes)
            for fitted in setup.fitted[self.of]
        ]
        cost = training.bind(stacked.cost, pixel_scale=setup.data.pixel_scale)
        stage = setup.recipe(self.recipe).stage(len(setup.data.images), setup.place(name))
        return _classifiers(setup, stage, cost, stacked.logits, first)


@dataclass(frozen=True)
class Network:
    """A Flax module, trained with labels."""

    module: Callable[..., Any]
    """Takes a seed and returns a module of `supervised`."""
    recipe: Recipe
    weight_decay: float | None = None
    choose: bool = True
    """Whether validation chooses the epoch."""
    patience: int | None = None
    """Minibatches to train for at least, by the rule of `early_stopping`; None for all epochs."""

    def train(self, setup: Setup, name: str) -> list[Fitted]:
        """Train; returns one `Fitted` per seed."""
        require("flax.nnx", "experiments")
        from dae_jax import supervised

        split = [supervised.split(self.module(seed)) for seed in setup.seeds]
        graph, first = split[0].graph, [part.params for part in split]
        cost = training.bind(
            partial(supervised.cost, graph=graph),
            pixel_scale=setup.data.pixel_scale,
            weight_decay=self.weight_decay,
        )
        logits = partial(supervised.logits, graph=graph)
        stage = setup.recipe(self.recipe).stage(len(setup.data.images), setup.place(name))
        return _classifiers(setup, stage, cost, logits, first, self.choose, self.patience)


def _classifiers(
    setup: Setup,
    stage: Stage,
    cost: Callable[..., Any],
    logits: Callable[..., Any],
    first: list[PyTree],
    choose: bool = True,
    patience: int | None = None,
) -> list[Fitted]:
    """Train classifiers with labels; keep the epoch that validation chooses, or the last one."""
    data, each = setup.data, range(len(first))

    def error(i: int, params: PyTree) -> float:
        return evaluation.error_rate(logits, params, data.valid.x, data.valid.labels)

    updates = None if patience is None else len(data.images) // stage.batch_size
    watch = Best(training.stack(first), error, updates, patience)
    labelled = data.images, data.train.labels
    history = fit(stage, cost, first, labelled, setup.keys(1), watch)
    chosen = [member(watch.params, i) for i in each] if choose else history.params
    return [
        Fitted(
            chosen[i],
            logits=partial(evaluation.apply, logits, chosen[i]),
            costs=history.costs[i],
            valid=history.valid[i],
            best_epoch=int(watch.rule.best_epoch[i]) or None if choose else None,
        )
        for i in each
    ]
