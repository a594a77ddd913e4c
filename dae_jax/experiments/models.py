"""Models of the experiments: the declarations, and how each of them is trained.

A `Model` is a frozen declaration with one method, ``train(setup, name)``, which returns one
`Fitted` per seed. All of them are trained by `runs.stage.train`, all seeds in one program.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
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
    "Chosen",
    "Finetuned",
    "Fitted",
    "Model",
    "Network",
    "Pretrained",
    "Recipe",
    "Setup",
    "Stack",
    "fit",
    "slug",
]

PyTree = Any
Function = Callable[[np.ndarray], np.ndarray]


def _missing(x: np.ndarray) -> np.ndarray:
    raise NotImplementedError("this kind of model has no such function")


def slug(title: str) -> str:
    """A title as the name of a file or folder.

    >>> slug("AE+wd, layer 1")
    'ae_wd_layer_1'
    """
    return re.sub(r"[^a-z0-9]+", "_", title.lower())


@dataclass(frozen=True)
class Recipe:
    """The optimisation of a model."""

    epochs: int | None
    batch_size: int
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    decay: Literal["none", "cosine", "last third"] = "none"
    """``"cosine"``: the learning rate falls to zero along half a cosine, until the last update.
    ``"last third"``: it falls after every epoch from .67 of them on, linearly to zero."""
    shuffle: Shuffle = True
    steps: int | None = None
    """Number of minibatches in all, instead of epochs."""

    def stage(self, n_images: int, place: Place, *, own_data: bool = False) -> Stage:
        """The stage that trains a model on so many images by this recipe."""
        batch_size = min(self.batch_size, n_images)
        per_epoch = n_images // batch_size
        steps = (self.epochs or 0) * per_epoch if self.steps is None else self.steps
        epochs = -(-steps // per_epoch)
        falling = (0.67 * epochs, epochs) if self.decay == "last third" else None
        optimizer = training.optimiser(
            self.optimizer, self.learning_rate, falling=falling, updates=per_epoch
        )
        if self.decay == "cosine":
            cosine = optax.cosine_decay_schedule(1.0, steps)
            optimizer = optax.chain(optimizer, optax.scale_by_schedule(cosine))
        return Stage(
            optimizer,
            epochs,
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
    candidates: dict[str, float] = field(
        default_factory=dict
    )  # validation errors, if one was chosen

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
    each_epoch: "Callable[[str, int, Fitted], None] | None" = None
    """Called with a model's name, the epoch, and the autoencoder of the first seed as it is."""

    def place(self, title: str) -> Place:
        """The place of one training, resumed if it was interrupted."""
        folder = None if self.folder is None else self.folder / slug(title)
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
    labelled: PyTree = None,
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
        labelled: See `training.fit`.
    """
    each = range(len(params))
    trained = stage.train(
        how,
        *training.sweep([cost for _ in each], params, how.optimizer),
        data,
        jnp.stack(keys),
        watch,
        labelled,
    )
    if trained is None:  # after Ctrl-C, with a checkpoint
        raise KeyboardInterrupt
    last = trained.state.params
    costs = [row.get("costs", [row["cost"]]) for row in trained.rows]
    unknown = [math.nan for _ in each]
    valid = [row.get("valid_error", row.get("valid_costs", unknown)) for row in trained.rows]
    return History(
        [jax.device_get(member(last, i)) for i in each],
        [[of_epoch[i] for of_epoch in costs] for i in each],
        [[of_epoch[i] for of_epoch in valid] for i in each],
    )


class ValidCost(Best):
    """A watch that computes the cost of held-out images after each epoch.

    Args:
        params: See `Best`.
        cost: The cost of held-out images with a member's parameters.
        patience: Epochs to train for at least, by the rule of `early_stopping`; None for all.
        show: Called with the epoch and the first member's parameters.
    """

    def __init__(
        self,
        params: PyTree,
        cost: Callable[[PyTree], float],
        patience: int | None = None,
        show: Callable[[int, PyTree], None] | None = None,
    ):
        updates = None if patience is None else 1  # patience is counted in epochs
        super().__init__(params, lambda _, one: cost(one), updates, patience)
        self._show = show

    def after(self, report: Report) -> dict[str, Any]:
        """Compute the costs of all members."""
        costs = super().after(report)["valid_error"]
        if self._show is not None:
            self._show(report.epoch, jax.device_get(member(report.state.params, 0)))
        return {"valid_costs": costs}


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
    patience: int | None = None
    """Epochs to train for at least, by the rule of `early_stopping` on the cost of held-out images,
    with the best ones kept; None for all epochs, with the last kept."""
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
            training.stack(first),
            lambda params: float(clean(params, x, unused, pixel_scale=jnp.float32(1))),
            self.patience,
            None if setup.each_epoch is None else partial(self._show, setup.each_epoch, name),
        )
        data: PyTree = setup.data.images
        n, own_data = len(data), self.noise == "fixed"
        if own_data:
            data = self._noisy(setup)
        stage = setup.recipe(self.recipe).stage(n, setup.place(name), own_data=own_data)
        cost = self.cost(setup.data.pixel_scale)
        history = fit(stage, cost, first, data, setup.keys(1), watch)
        if self.patience is not None:
            best = [member(watch.params, i) for i in range(len(first))]
            history = history._replace(params=best)
        return [
            replace(self.fitted(params), costs=costs, valid=valid)
            for params, costs, valid in zip(*history, strict=True)
        ]

    def fitted(self, params: deep.Params) -> Fitted:
        """The functions of a model with these parameters."""
        encode = partial(deep.encode, architecture=self.architecture)
        decode = partial(deep.decode, architecture=self.architecture)
        return Fitted(
            params,
            encode=partial(evaluation.apply, encode, params),
            decode=partial(evaluation.apply, decode, params),
        )

    def _show(
        self, show: Callable[[str, int, Fitted], None], name: str, epoch: int, params: deep.Params
    ) -> None:
        show(name, epoch, self.fitted(params))

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
class Pretrained:
    """A stack as it is after pretraining, unrolled into an autoencoder."""

    architecture: Architecture
    stack: Stack

    def train(self, setup: Setup, name: str) -> list[Fitted]:
        """Pretrain; returns one `Fitted` per seed."""
        whole = Autoencoder(self.architecture, self.stack.recipe)
        stacks = self.stack.train(setup, name, self.architecture)
        return [whole.fitted(deep.unroll(layers)) for layers in stacks]


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
    patience: int | None = None
    """See `Network`."""

    def train(self, setup: Setup, name: str) -> list[Fitted]:
        """Fine-tune; validation chooses the epoch."""
        first = [
            stacked.classifier(fitted.params.encoder, setup.data.n_pixels, setup.data.n_classes)
            for fitted in setup.fitted[self.of]
        ]
        cost = training.bind(stacked.cost, pixel_scale=setup.data.pixel_scale)
        stage = setup.recipe(self.recipe).stage(len(setup.data.images), setup.place(name))
        return _classifiers(setup, stage, cost, stacked.logits, first, Keep(True, self.patience))


@dataclass(frozen=True)
class Chosen:
    """The best of several autoencoders, each fine-tuned as a classifier by several recipes.

    All pairs are trained with the first seed. The one with the lowest validation error is trained
    with the others. The test images have no part in it.
    """

    autoencoders: tuple[Autoencoder, ...]
    recipes: tuple[Recipe, ...]
    patience: int
    """Of the fine-tuning; see `Network`."""

    def train(self, setup: Setup, name: str) -> list[Fitted]:
        """Train; returns each seed's autoencoder, with its classifier's logits."""
        first = replace(setup, seeds=setup.seeds[:1])
        tried: dict[tuple[int, int], list[Fitted]] = {}
        for i, model in enumerate(self.autoencoders):
            fitted = model.train(first, f"{name} {i + 1}")
            for j in range(len(self.recipes)):
                tried[i, j] = self._tuned(first, fitted, f"{name} {i + 1}", j)
        errors = {pair: min(fitted[0].valid) for pair, fitted in tried.items()}
        i, j = min(errors, key=errors.__getitem__)
        rest, title = replace(setup, seeds=setup.seeds[1:]), f"{name} chosen"
        others = []
        if rest.seeds:
            others = self._tuned(rest, self.autoencoders[i].train(rest, title), title, j)
        grid = {self._name(*pair): error for pair, error in errors.items()}
        return [replace(fitted, candidates=grid) for fitted in (*tried[i, j], *others)]

    def _name(self, i: int, j: int) -> str:
        """The numbers in which a pair differs from the others."""
        model, recipe = self.autoencoders[i], self.recipes[j]
        amounts = [
            f"{part.name} {getattr(model, part.name):g}"
            for part in fields(model)
            if part.name in ("level", "weight_decay", "contract")
            and getattr(model, part.name) is not None
        ]
        rates = f"rates {model.recipe.learning_rate:g} and {recipe.learning_rate:g}"
        return ", ".join([*amounts, rates])

    def _tuned(self, setup: Setup, pretrained: list[Fitted], title: str, j: int) -> list[Fitted]:
        """Fine-tune by one of the recipes; keep the autoencoders beside the classifiers."""
        tuning = Finetuned("autoencoder", self.recipes[j], self.patience)
        with_them = replace(setup, fitted={"autoencoder": pretrained})
        tuned = tuning.train(with_them, f"{title}, fine-tuning {j + 1}")
        return [
            replace(one, params=auto.params, encode=auto.encode, decode=auto.decode)
            for one, auto in zip(tuned, pretrained, strict=True)
        ]


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
    part: int | None = None
    """Images of a minibatch whose gradients are computed at once; see `training.in_parts`."""

    def train(self, setup: Setup, name: str) -> list[Fitted]:
        """Train; returns one `Fitted` per seed."""
        require("flax.nnx", "experiments")
        from dae_jax import supervised

        split = [supervised.split(self.module(seed)) for seed in setup.seeds]
        graph, first = split[0].graph, [part.params for part in split]
        one: Callable[..., Any] = partial(supervised.cost, graph=graph)
        if self.part is not None and len(setup.data.images) >= self.recipe.batch_size:
            one = partial(training.in_parts, cost=one, size=self.part)
        cost = training.bind(
            one,
            pixel_scale=setup.data.pixel_scale,
            weight_decay=self.weight_decay,
        )
        logits = partial(supervised.logits, graph=graph)
        stage = setup.recipe(self.recipe).stage(len(setup.data.images), setup.place(name))
        keep = Keep(self.choose, self.patience)
        return _classifiers(setup, stage, cost, logits, first, keep)


class Keep(NamedTuple):
    """Whether validation chooses the epoch that is kept, and whether it stops the training."""

    best: bool
    patience: int | None  # minibatches; see `Network`


def _classifiers(
    setup: Setup,
    stage: Stage,
    cost: Callable[..., Any],
    logits: Callable[..., Any],
    first: list[PyTree],
    keep: Keep,
) -> list[Fitted]:
    """Train classifiers with labels; keep the epoch that validation chooses, or the last one."""
    data, each = setup.data, range(len(first))

    def error(i: int, params: PyTree) -> float:
        return evaluation.error_rate(logits, params, data.valid.x, data.valid.labels)

    updates = None if keep.patience is None else len(data.images) // stage.batch_size
    watch = Best(training.stack(first), error, updates, keep.patience)
    labelled = data.images, data.train.labels
    history = fit(stage, cost, first, labelled, setup.keys(1), watch)
    chosen = [member(watch.params, i) for i in each] if keep.best else history.params
    return [
        Fitted(
            chosen[i],
            logits=partial(evaluation.apply, logits, chosen[i]),
            costs=history.costs[i],
            valid=history.valid[i],
            best_epoch=int(watch.rule.best_epoch[i]) or None if keep.best else None,
        )
        for i in each
    ]
