r"""Stacked denoising autoencoders: layers pretrained one by one, then fine-tuned as a classifier.

.. math::
    y_0 &= x, \qquad y_k = s(y_{k-1} W_k + b_k) \\
    p &= \mathrm{softmax}(y_K W + b)

Each :math:`(W_k, b_k)` is first the encoder of a dA, trained to reconstruct :math:`y_{k-1}` from
corrupted copies of it (the clean codes of the layers below are computed once and stored). Then it
becomes a layer of the classifier, with the same numbers and the same activation, and fine-tuning
trains all layers with labels (deeplearning.net tutorial, "Stacked Denoising Autoencoders"; Vincent
et al., JMLR 2010). Both halves are costs for `training.fit`.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, Real

from dae_jax import autoencoder, corruption
from dae_jax.autoencoder import AnyParams
from dae_jax.errors import InputError
from dae_jax.objectives import AnyArray

__all__ = [
    "Classifier",
    "Layer",
    "classifier",
    "cost",
    "encode",
    "init",
    "init_tutorial",
    "input_weights",
    "logits",
]


class Layer(NamedTuple):
    """The parameters of one layer, ``y W + b``."""

    W: Float[AnyArray, "inputs outputs"]
    b: Float[AnyArray, "outputs"]


class Classifier(NamedTuple):
    """The parameters of a classifier: hidden layers, from the images up, and a softmax layer."""

    hidden: tuple[Layer, ...]
    top: Layer


def init(key: Key[Array, ""], n_visible: int, n_hidden: Sequence[int]) -> list[AnyParams]:
    """Draw the initial parameters of a stack of dAs; see `autoencoder.init`.

    Args:
        key: A JAX random key.
        n_visible: Number of pixels.
        n_hidden: Units of each layer, from the images up.

    Raises:
        InputError: A size below 1.
    """
    sizes = [n_visible, *n_hidden]
    keys = jax.random.split(key, len(n_hidden))
    pairs = zip(keys, sizes[:-1], sizes[1:], strict=True)
    return [autoencoder.init(key, n_in, n_out) for key, n_in, n_out in pairs]


def init_tutorial(seed: int, n_visible: int, n_hidden: Sequence[int]) -> list[AnyParams]:
    """Draw the tutorial's initial weights, bit for bit: one legacy NumPy generator for all layers.

    The original draws one number below 2**30, then the weights of each layer in turn.

    Args:
        seed: 0 to 2**32 - 1; the tutorial uses 89677.
        n_visible: See `init`, as for `n_hidden`.

    Raises:
        InputError: A size below 1, or a seed out of range.

    >>> [layer.W.shape for layer in init_tutorial(89677, 784, [300, 200])]
    [(784, 300), (300, 200)]
    """
    if not n_hidden:
        raise InputError("n_hidden", expected="at least one layer", got="none")
    # The first layer is the single dA's draw; the same stream then continues.
    layers = [autoencoder.init_tutorial(seed, n_visible, n_hidden[0])]
    rng = np.random.RandomState(seed)
    rng.randint(2**30)
    rng.uniform(size=(n_visible, n_hidden[0]))
    for n_in, n_out in pairwise(n_hidden):
        if n_out < 1:
            raise InputError("n_hidden", expected="at least 1 for each layer", got=n_out)
        r = autoencoder.weight_range(n_in, n_out)
        W = rng.uniform(-r, r, (n_in, n_out))
        layers.append(autoencoder.init(jax.random.key(0), n_in, n_out, W=W))
    return layers


def classifier(layers: Sequence[AnyParams | Layer], n_inputs: int, n_classes: int) -> Classifier:
    """A classifier whose hidden layers are the encoders of `layers`, with a softmax layer of zeros.

    Args:
        layers: Pretrained or initial dAs, from the images up; none of them for softmax regression
            on the inputs themselves, such as stored codes.
        n_inputs: Number of inputs, needed if there are no layers.
        n_classes: Number of classes K.
    """
    width = layers[-1].W.shape[1] if layers else n_inputs
    top = Layer(jnp.zeros((width, n_classes)), jnp.zeros(n_classes))
    return Classifier(tuple(Layer(layer.W, layer.b) for layer in layers), top)


def encode(
    layers: Sequence[AnyParams | Layer],
    x: Float[AnyArray, "... pixels"],
    activation: Callable[..., Array] = jax.nn.sigmoid,
) -> Float[AnyArray, "... units"]:
    """The clean codes of the topmost of `layers`; each layer's codes are the next one's inputs."""
    for layer in layers:
        x = activation(x @ layer.W + layer.b)
    return x


def input_weights(
    layers: Sequence[AnyParams | Layer],
) -> Float[AnyArray, "pixels units"]:
    r"""The filters of the topmost layer's units in the space of images, to first order.

    .. math:: W_1 W_2 \cdots W_K

    A unit is drawn as the weighted sum of the units below it (Lee, Grosse, Ranganath & Ng, ICML
    2009, section 4.2; Erhan, Bengio, Courville & Vincent 2009, section 3.2). This ignores the
    sigmoids between the layers, so it is an approximation.
    """
    product = layers[0].W
    for layer in layers[1:]:
        product = product @ layer.W
    return product


def logits(
    model: Classifier,
    x: Float[AnyArray, "... pixels"],
    activation: Callable[..., Array] = jax.nn.sigmoid,
) -> Float[AnyArray, "... classes"]:
    """The inputs of the softmax."""
    return encode(model.hidden, x, activation) @ model.top.W + model.top.b


def cost(
    model: Classifier,
    batch: tuple[Real[AnyArray, "batch pixels"], Int[AnyArray, "batch"]],
    key: Key[Array, ""],
    *,
    pixel_scale: Float[AnyArray, ""],
    dropout: tuple[Float[AnyArray, ""], Float[AnyArray, ""]] | None = None,
    activation: Callable[..., Array] = jax.nn.sigmoid,
) -> Float[AnyArray, ""]:
    r"""The cost of fine-tuning: the mean negative log-likelihood of the labels.

    .. math:: -\frac{1}{n} \sum_i \log p_{t_i}(x_i)

    Args:
        model: The classifier; all of its layers get gradients.
        batch: Images as the data set holds them, and their labels 0 .. K-1.
        key: A new key for this minibatch's dropout.
        pixel_scale: Divisor of integer pixels.
        dropout: The probabilities, in [0, 1), of dropping an input and a hidden unit; see
            `corruption.drop`. None draws no random numbers.
        activation: That of the hidden layers; bound with `functools.partial`, since it is code.

    Returns:
        A scalar, in nats per image.
    """
    images, labels = batch
    y = autoencoder.pixels(images, pixel_scale)
    keys = jax.random.split(key, len(model.hidden) + 1)
    for i, layer in enumerate(model.hidden):
        if dropout is not None:
            y = corruption.drop(keys[i], y, dropout[min(i, 1)])
        y = activation(y @ layer.W + layer.b)
    if dropout is not None:
        y = corruption.drop(keys[-1], y, dropout[1 if model.hidden else 0])
    a = y @ model.top.W + model.top.b
    return optax.softmax_cross_entropy_with_integer_labels(a, labels).mean()
