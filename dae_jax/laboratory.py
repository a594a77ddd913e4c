"""What an experiment is made of: what the images are, what is trained on them, and for how long.

Each kind of model below is a frozen declaration with one method, ``train(lab)``, which gives one
`Fitted` a seed. All that is trained at all is trained by `training.fit`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from dae_jax import autoencoder, command, deep, stacked, training
from dae_jax.datasets import Dataset
from dae_jax.deep import Architecture
from dae_jax.errors import InputError, require

PyTree = Any
CHUNK = 5_000  # images that go through a model at once, outside training


@dataclass(frozen=True)
class Images:
    """What the models of an experiment see."""

    prepare: Literal["unit", "standardised"] = "unit"
    """In [0, 1]; or each pixel with mean 0 and standard deviation 1 over the training images."""
    pixel_scale: float = 255.0
    with_valid: bool = False
    """Whether the validation images are trained on, too, and the test images take their place: as
    in articles that know no validation set. Nothing is chosen by them."""
    skip: int = 0
    """How many of the first training images to leave out, where a source did."""


class Part(NamedTuple):
    """Images as models see them, float32, and their labels."""

    x: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Prepared:
    """A data set, made ready once for all models of an experiment."""

    name: str
    image_shape: tuple[int, ...] | None
    images: np.ndarray  # to train on, as bytes where that is the same
    pixel_scale: float
    train: Part
    valid: Part
    test: Part
    mean: np.ndarray | float = 0.0  # what was taken away from the pixels,
    deviation: np.ndarray | float = 1.0  # and what they were divided by

    def picture(self, x: np.ndarray) -> np.ndarray:
        """Images as one looks at them, in [0, 1]."""
        return np.clip(x * self.deviation + self.mean, 0, 1)

    @property
    def n_pixels(self) -> int:
        """Pixels of an image."""
        return self.images.shape[1]

    @property
    def n_classes(self) -> int:
        """The number of classes K."""
        return int(self.train.labels.max()) + 1


def prepare(dataset: Dataset, wanted: Images) -> Prepared:
    """Make a data set ready.

    Raises:
        InputError: Images without labels, by which codes are judged here, or pixels not in [0, 1].
    """
    splits = dataset.train, dataset.valid, dataset.test
    if any(split.labels is None or not len(split.images) for split in splits):
        raise InputError(
            f"data {dataset.name}",
            expected="labelled images to train, validate and test on",
            got="some without",
            do="use mnist or mnist-sample",
        )
    train, valid, test = splits
    images, labels = train.images, train.labels
    if wanted.with_valid:
        images = np.concatenate([images, valid.images])
        labels = np.concatenate([train.labels, valid.labels])  # type: ignore[list-item]
        valid = test
    images, labels = images[wanted.skip :], labels[wanted.skip :]  # type: ignore[index]
    scale = wanted.pixel_scale
    parts = [
        np.asarray(autoencoder.pixels(jnp.asarray(part), scale))
        for part in (images, valid.images, test.images)
    ]
    if min(part.min() for part in parts) < 0 or max(part.max() for part in parts) > 1:
        raise InputError(f"pixels of {dataset.name}", expected="values in [0, 1]", got="others")
    mean, deviation = 0.0, 1.0
    if wanted.prepare == "standardised":
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(parts[0])
        parts = [np.asarray(scaler.transform(part), np.float32) for part in parts]
        images, mean, deviation = parts[0], scaler.mean_, scaler.scale_
    with_labels = zip(parts, (labels, valid.labels, test.labels), strict=True)
    return Prepared(
        dataset.name,
        dataset.image_shape,
        images,
        scale,
        *(Part(x, y) for x, y in with_labels),  # type: ignore[arg-type]
        mean,  # type: ignore[arg-type]
        deviation,  # type: ignore[arg-type]
    )


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
            jnp.stack(self.keys(1)),
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


@dataclass(frozen=True)
class Autoencoder:
    """An autoencoder trained from scratch, or from where another model stands."""

    architecture: Architecture
    recipe: Recipe
    objective: str = "cross-entropy"
    noise: str = "masking"
    level: float | None = None
    l1: float | None = None
    kl: tuple[float, float] | None = None
    contract: float | None = None
    weight_decay: float | None = None
    gain: float = 1.0
    """See `deep.init`."""
    tutorial_weights: bool = False
    """The tutorial's own first weights, for one tied layer."""
    zero_decoder: bool = False
    """Whether an untied decoder begins with zeros."""
    code_bias: float = 0.0
    """What the code's biases begin with: of a few ReLU units, all may be dead from the start."""
    after: "Stack | None" = None
    """A stack to pretrain first, and to unroll."""

    def train(self, lab: Laboratory, name: str) -> list[Fitted]:
        """Train and return one a seed."""
        architecture = self.sized(lab.data.n_pixels)
        deep.check(architecture, self.objective)
        first = [self._first(key, seed) for key, seed in zip(lab.keys(), lab.seeds, strict=True)]
        if self.after is not None:
            first = [deep.unroll(layers) for layers in self.after.train(lab, name, architecture)]
        x = jnp.asarray(lab.data.valid.x)
        clean = jax.jit(
            partial(deep.cost, architecture=architecture, objective=self.objective),
        )
        look = lambda p: float(clean(p, x, lab.keys()[0], pixel_scale=jnp.float32(1)))  # noqa: E731
        trained = lab.fit(
            name, self.cost(lab, architecture), first, lab.data.images, self.recipe, look=look
        )
        encode = jax.jit(partial(deep.encode, architecture=architecture))
        decode = jax.jit(partial(deep.decode, architecture=architecture))
        return [
            Fitted(params, encode, decode, None, costs, seen)
            for params, costs, seen, _ in zip(*trained, strict=True)
        ]

    def sized(self, n_pixels: int) -> Architecture:
        """The architecture, for images of another size than MNIST's."""
        return replace(self.architecture, sizes=(n_pixels, *self.architecture.sizes[1:]))

    def cost(self, lab: Laboratory, architecture: Architecture) -> Callable[..., Any]:
        """The cost, with this model's terms in it."""
        how = dict(architecture=architecture, objective=self.objective, noise=self.noise)
        terms = dict(
            level=self.level,
            l1=self.l1,
            kl=self.kl,
            contract=self.contract,
            weight_decay=self.weight_decay,
            pixel_scale=lab.data.pixel_scale,
        )
        numbers = jax.tree.map(lambda value: jnp.asarray(value, float), terms)
        return jax.tree_util.Partial(partial(deep.cost, **how), **numbers)

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


@dataclass(frozen=True)
class Stack:
    """Greedy pretraining: a denoising autoencoder a layer, each on the codes of the one below."""

    recipe: Recipe
    learning_rates: tuple[float, ...]  # of each layer, instead of the recipe's
    level: float  # of masking noise

    def train(
        self, lab: Laboratory, name: str, architecture: Architecture
    ) -> list[list[deep.Tied]]:
        """Each seed's layers, from the pixels up."""
        layers: list[list[deep.Tied]] = [[] for _ in lab.seeds]
        data: np.ndarray = lab.data.images
        rates = zip(pairwise(architecture.sizes), self.learning_rates, strict=True)
        for k, (sizes, rate) in enumerate(rates):
            code = architecture.encoder[k]
            one = Architecture(sizes, code=code, tied=True)
            model = Autoencoder(one, self.recipe, level=self.level)
            gain = 4.0 if code == "sigmoid" else 1.0
            trained = lab.fit(
                f"{name}, layer {k + 1}",
                model.cost(lab, one),
                [deep.init(key, one, gain=gain) for key in lab.keys(k)],
                data,
                replace(self.recipe, learning_rate=rate),
                own_data=k > 0,
            )
            encode = jax.jit(
                lambda p, x, one=one: deep.encode(
                    p, autoencoder.pixels(x, lab.data.pixel_scale), one
                )
            )
            inputs = [data] * len(lab.seeds) if k == 0 else data
            for below, params in zip(layers, trained.params, strict=True):
                below.append(params)
            pairs = zip(trained.params, inputs, strict=True)
            data = np.stack([in_chunks(encode, params, x) for params, x in pairs])
        return layers


@dataclass(frozen=True)
class PCA:
    """Principal components, by scikit-learn."""

    n_components: int

    def train(self, lab: Laboratory, name: str) -> list[Fitted]:
        """The same for every seed."""
        from sklearn.decomposition import PCA as Decomposition  # noqa: N811

        found = Decomposition(self.n_components, svd_solver="covariance_eigh").fit(lab.data.train.x)
        encode = lambda _, x: found.transform(x)  # noqa: E731
        decode = lambda _, codes: found.inverse_transform(codes)  # noqa: E731
        return [Fitted(found.components_, encode, decode)] * len(lab.seeds)


@dataclass(frozen=True)
class Finetuned:
    """The encoder of a fitted autoencoder with a softmax layer on top, trained with labels."""

    of: str
    recipe: Recipe

    def train(self, lab: Laboratory, name: str) -> list[Fitted]:
        """Fine-tune; validation chooses the epoch."""
        first = [
            stacked.classifier(fitted.params.encoder, lab.data.n_pixels, lab.data.n_classes)
            for fitted in lab.fitted[self.of]
        ]
        cost = jax.tree_util.Partial(
            stacked.cost, pixel_scale=jnp.asarray(lab.data.pixel_scale, float)
        )
        return _classifiers(lab, name, cost, first, self.recipe, jax.jit(stacked.logits))


@dataclass(frozen=True)
class Network:
    """A Flax module trained with labels."""

    module: Callable[..., Any]
    """Takes ``rngs`` and gives the module of `supervised`."""
    recipe: Recipe
    weight_decay: float | None = None
    choose: bool = True
    """Whether validation chooses the epoch."""
    image_shape: tuple[int, int] | None = None
    """The images that it is made for, if only for one kind."""

    def train(self, lab: Laboratory, name: str) -> list[Fitted]:
        """Train and return one a seed."""
        require("flax.nnx", "experiments")
        from flax import nnx

        from dae_jax import supervised

        if self.image_shape not in (None, lab.data.image_shape):
            raise InputError(
                f"images for {name}", expected=self.image_shape, got=lab.data.image_shape
            )
        split = [supervised.split(self.module(rngs=nnx.Rngs(seed))) for seed in lab.seeds]
        graph = split[0].graph
        numbers = {"pixel_scale": lab.data.pixel_scale, "weight_decay": self.weight_decay}
        cost = jax.tree_util.Partial(
            partial(supervised.cost, graph=graph),
            **jax.tree.map(lambda value: jnp.asarray(value, float), numbers),
        )
        logits = jax.jit(partial(supervised.logits, graph=graph))
        first = [part.params for part in split]
        return _classifiers(lab, name, cost, first, self.recipe, logits, self.choose)


def _classifiers(
    lab: Laboratory,
    name: str,
    cost: Callable[..., Any],
    first: list[PyTree],
    recipe: Recipe,
    logits: Callable[..., Any],
    choose: bool = True,
) -> list[Fitted]:
    valid = lab.data.valid

    def wrong(params: PyTree) -> float:
        return float((in_chunks(logits, params, valid.x).argmax(1) != valid.labels).mean())

    data = lab.data.images, lab.data.train.labels
    trained = lab.fit(name, cost, first, data, recipe, look=wrong, choose=choose)
    return [
        Fitted(params, None, None, logits, costs, errors, best)
        for params, costs, errors, best in zip(*trained, strict=True)
    ]
