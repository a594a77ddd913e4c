"""What can be trained in an experiment: the declarations, and what each of them means."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dae_jax import autoencoder, deep, stacked
from dae_jax.deep import Architecture
from dae_jax.errors import require
from dae_jax.experiments.laboratory import Fitted, Laboratory, Recipe, in_chunks

PyTree = Any


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
        architecture = self.architecture
        deep.check(architecture, self.objective)
        first = [self._first(key, seed) for key, seed in zip(lab.keys(), lab.seeds, strict=True)]
        if self.after is not None:
            first = [deep.unroll(layers) for layers in self.after.train(lab, name, architecture)]
        x, unused = jnp.asarray(lab.data.valid.x), lab.keys()[0]  # nothing is corrupted
        clean = jax.jit(partial(deep.cost, architecture=architecture, objective=self.objective))
        look = lambda p: float(clean(p, x, unused, pixel_scale=jnp.float32(1)))  # noqa: E731
        trained = lab.fit(name, self.cost(lab), first, lab.data.images, self.recipe, look=look)
        encode = jax.jit(partial(deep.encode, architecture=architecture))
        decode = jax.jit(partial(deep.decode, architecture=architecture))
        return [
            Fitted(params, encode, decode, None, costs, seen)
            for params, costs, seen, _ in zip(*trained, strict=True)
        ]

    def cost(self, lab: Laboratory) -> Callable[..., Any]:
        """The cost, with this model's terms in it."""
        how = dict(architecture=self.architecture, objective=self.objective, noise=self.noise)
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
                model.cost(lab),
                [deep.init(key, one, gain=gain) for key in lab.keys(2 * k + 2)],
                data,
                replace(self.recipe, learning_rate=rate),
                stage=2 * k + 3,  # 0 and 1 are those of what comes after
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
    choose: bool = True
    """Whether validation chooses the epoch."""

    def train(self, lab: Laboratory, name: str) -> list[Fitted]:
        """Train and return one a seed."""
        require("flax.nnx", "experiments")
        from flax import nnx

        from dae_jax import supervised

        split = [supervised.split(self.module(rngs=nnx.Rngs(seed))) for seed in lab.seeds]
        graph = split[0].graph
        cost = jax.tree_util.Partial(
            partial(supervised.cost, graph=graph),
            pixel_scale=jnp.asarray(lab.data.pixel_scale, float),
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
