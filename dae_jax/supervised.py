r"""The supervised baselines: softmax regression, an MLP and LeNet, in Flax.

Flax's NNX modules are split into a hashable graph, which is compiled in, and a pytree of
parameters, so that their cost is a pure function and `training.fit` trains them like every other
model here.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Key, Real

from dae_jax import autoencoder, objectives
from dae_jax.objectives import AnyArray

__all__ = [
    "MLP",
    "LeNet",
    "Split",
    "TheanoLeNet",
    "convolve",
    "cost",
    "logits",
    "pool",
    "split",
    "theano_pool",
    "tutorial_mlp",
]

PyTree = Any


class MLP(nnx.Module):
    r"""A multilayer perceptron; without hidden layers it is softmax regression.

    .. math:: h_k = s(h_{k-1} W_k + b_k), \qquad p = \mathrm{softmax}(h_K W + b)

    Initially, the top layer is zero, as in the deeplearning.net tutorials, and the others have
    Glorot and Bengio's uniform weights. With `deviation`, all layers have normal weights truncated
    at two standard deviations, as in TensorFlow's tutorials, where a positive `bias` keeps ReLU
    units alive.

    The eight parameters are those of the network and of its initial values.

    Args:
        sizes: Number of pixels, units of each hidden layer, number of classes.
        activation: The activation :math:`s` of hidden layers.
        dropout: The probability, in [0, 1), of dropping a hidden unit.
        input_dropout: The probability, in [0, 1), of dropping a pixel.
        deviation: The standard deviation of normal initial weights; None for uniform ones.
        bias: The initial value of all biases.
        zero_top: Whether the top layer's weights are zero initially; None: without `deviation`.
        rngs: Flax's random number streams, for the initial weights.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Callable[[Array], Array] = jnp.tanh,
        dropout: float = 0.0,
        *,
        input_dropout: float = 0.0,
        deviation: float | None = None,
        bias: float = 0.0,
        zero_top: bool | None = None,
        rngs: nnx.Rngs,
    ):
        first = _initial(deviation, bias, rngs)
        *pairs, last = pairwise(sizes)
        self.hidden = nnx.List(nnx.Linear(*pair, **first) for pair in pairs)
        top = dict(first)
        if deviation is None if zero_top is None else zero_top:
            top["kernel_init"] = nnx.initializers.zeros_init()
        self.top = nnx.Linear(*last, **top)
        self.activation = activation
        self.input_dropout = nnx.Dropout(input_dropout)
        self.dropout = nnx.Dropout(dropout)

    def __call__(
        self, x: Float[Array, "batch pixels"], rngs: nnx.Rngs | None = None
    ) -> Float[Array, "batch classes"]:
        """The inputs of the softmax; with dropout if `rngs` is given."""
        x = self.input_dropout(x, deterministic=rngs is None, rngs=rngs)
        for layer in self.hidden:
            x = self.activation(layer(x))
            x = self.dropout(x, deterministic=rngs is None, rngs=rngs)
        return self.top(x)


def _initial(deviation: float | None, bias: float, rngs: nnx.Rngs) -> dict[str, Any]:
    """The initialisers of a layer's weights and biases."""
    init = nnx.initializers
    weights = init.glorot_uniform() if deviation is None else init.truncated_normal(deviation)
    return {"kernel_init": weights, "bias_init": init.constant(bias), "rngs": rngs}


def tutorial_mlp(seed: int, n_in: int, n_hidden: int, n_classes: int) -> MLP:
    r"""The tutorial's tanh network, with its initial weights.

    .. math:: W_{ij} \sim U(-r, r), \qquad r = \sqrt{6 / (n_{in} + n_{hidden})}

    from NumPy's legacy generator; the top layer is zero (deeplearning.net, mlp).

    Args:
        seed: The seed of ``numpy.random.RandomState``; the script's own is 1234.
        n_in: Number of pixels.
        n_hidden: Number of hidden units.
        n_classes: Number of classes.
    """
    mlp = MLP((n_in, n_hidden, n_classes), rngs=nnx.Rngs(0))
    r = np.sqrt(6.0 / (n_in + n_hidden))
    W = np.random.RandomState(seed).uniform(-r, r, (n_in, n_hidden))
    mlp.hidden[0].kernel[...] = jnp.asarray(W, jnp.float32)
    return mlp


class LeNet(nnx.Module):
    """LeNet: two rounds of convolution and max-pooling, a hidden layer, a softmax layer.

    After LeCun, Bottou, Bengio & Haffner (1998), as in the deeplearning.net tutorial: 28 x 28
    pixels, kernels of 5 x 5 without padding, pooling by 2, which gives 12 x 12 and then 4 x 4.
    Initially, kernels have the tutorial's uniform weights, whose range counts a quarter of the
    outputs, those that pooling leaves; see `MLP` for the other layers, and for `deviation`.

    The nine parameters are those of the network and of its initial values.

    Args:
        kernels: Number of kernels of the first and the second convolution.
        units: Units of the hidden layer.
        n_classes: Number of classes.
        activation: The activation of convolutions and hidden layer.
        padding: ``"VALID"``, or ``"SAME"``, which gives 14 x 14 and 7 x 7.
        dropout: The probability, in [0, 1), of dropping a hidden unit.
        deviation: See `MLP`.
        bias: See `MLP`.
        rngs: Flax's random number streams, for the initial weights.
    """

    def __init__(
        self,
        kernels: tuple[int, int] = (20, 50),
        units: int = 500,
        n_classes: int = 10,
        *,
        activation: Callable[[Array], Array] = jnp.tanh,
        padding: str = "VALID",
        dropout: float = 0.0,
        deviation: float | None = None,
        bias: float = 0.0,
        rngs: nnx.Rngs,
    ):
        init = _initial(deviation, bias, rngs)
        first, second = kernels
        side = 4 if padding == "VALID" else 7

        def conv(n_in: int, n_out: int) -> nnx.Conv:
            if deviation is None:
                r = (6 / (25 * n_in + 25 * n_out // 4)) ** 0.5
                init["kernel_init"] = partial(jax.random.uniform, minval=-r, maxval=r)
            return nnx.Conv(
                n_in,
                n_out,
                (5, 5),
                padding=padding,
                conv_general_dilated=convolve,
                **init,
            )

        self.convolutions = nnx.List([conv(1, first), conv(first, second)])
        flat = side * side * second
        self.classifier = MLP(
            (flat, units, n_classes), activation, dropout, deviation=deviation, bias=bias, rngs=rngs
        )
        self.activation = activation

    def __call__(
        self, x: Float[Array, "batch pixels"], rngs: nnx.Rngs | None = None
    ) -> Float[Array, "batch classes"]:
        """The inputs of the softmax; with dropout if `rngs` is given."""
        h = x.reshape(-1, 28, 28, 1)
        for convolution in self.convolutions:
            h = self.activation(pool(convolution(h)))
        return self.classifier(h.reshape(len(h), -1), rngs)


def convolve(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "down across channels kernels"],
    strides: Sequence[int],
    padding: str,
    **how: Any,
) -> Float[Array, "batch height_ width_ kernels"]:
    """`jax.lax.conv_general_dilated` for strides of 1, as one matrix product on a CPU.

    On a CPU, XLA's own convolution is many times slower inside a `lax.scan`, where training takes
    place. The patches become rows of a matrix, one per pixel ("im2col").
    """
    if jax.default_backend() != "cpu":
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **how)
    down, across, channels, kernels = kernel.shape
    if padding == "SAME":
        around = [(0, 0), *[((side - 1) // 2, side // 2) for side in (down, across)], (0, 0)]
        x = jnp.pad(x, around)
    height, width = x.shape[1] - down + 1, x.shape[2] - across + 1
    shifted = [x[:, i : i + height, j : j + width] for i in range(down) for j in range(across)]
    return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(down * across * channels, kernels)


def pool(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch h w channels"]:
    """Max-pooling over 2 x 2 pixels; two pixels that are tied share the gradient equally."""
    rows = jnp.maximum(x[:, ::2], x[:, 1::2])
    return jnp.maximum(rows[:, :, ::2], rows[:, :, 1::2])


@jax.custom_vjp
def theano_pool(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch h w channels"]:
    """`pool` with Theano's gradient: each of several tied pixels gets the whole of it."""
    return pool(x)


def _forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
    z = pool(x)
    return z, (x, z)


def _backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array]:
    x, z = kept

    def twice(a: Array) -> Array:
        return a.repeat(2, axis=1).repeat(2, axis=2)

    return (jnp.where(x == twice(z), twice(gradient), 0),)


theano_pool.defvjp(_forward, _backward)


class TheanoLeNet(LeNet):
    r"""The tutorial's LeNet, with its initial weights and Theano's gradient of pooling.

    .. math:: W \sim U(-r, r), \qquad r = \sqrt{6 / (n_{in} + n_{out})}

    from NumPy's legacy generator, layer after layer; the top layer is zero. Theano turns kernels
    upside down and keeps channels before pixels, so both are moved here. The biases are added after
    pooling, which is the same but for the gradient of tied pixels (deeplearning.net,
    convolutional_mlp).

    Args:
        seed: The seed of ``numpy.random.RandomState``; the script's own is 23455.
        kernels: Number of kernels of the first and the second convolution.
        units: Units of the hidden layer.
    """

    def __init__(self, seed: int, kernels: tuple[int, int] = (20, 50), units: int = 500):
        super().__init__(kernels, units, rngs=nnx.Rngs(0))
        rng, n_in = np.random.RandomState(seed), 1
        for convolution, n_out in zip(self.convolutions, kernels, strict=True):
            r = np.sqrt(6.0 / (25 * n_in + 25 * n_out // 4))
            W = rng.uniform(-r, r, (n_out, n_in, 5, 5))[..., ::-1, ::-1]
            convolution.kernel[...] = jnp.asarray(W.transpose(2, 3, 1, 0), jnp.float32)
            n_in = n_out
        flat = 16 * n_in
        r = np.sqrt(6.0 / (flat + units))
        W = rng.uniform(-r, r, (flat, units)).reshape(n_in, 4, 4, units)
        W = W.transpose(1, 2, 0, 3).reshape(flat, units)
        self.classifier.hidden[0].kernel[...] = jnp.asarray(W, jnp.float32)

    def __call__(
        self, x: Float[Array, "batch pixels"], rngs: nnx.Rngs | None = None
    ) -> Float[Array, "batch classes"]:
        """The inputs of the softmax."""
        h, axes = x.reshape(-1, 28, 28, 1), ("NHWC", "HWIO", "NHWC")
        for conv in self.convolutions:
            assert conv.bias is not None
            a = convolve(h, conv.kernel[...], (1, 1), "VALID", dimension_numbers=axes)
            h = self.activation(theano_pool(a) + conv.bias[...])
        return self.classifier(h.reshape(len(h), -1), rngs)


class Split(NamedTuple):
    """A module as a hashable graph and a pytree of parameters."""

    graph: nnx.GraphDef
    params: PyTree


def split(module: nnx.Module) -> Split:
    """Split a module into its graph and its parameters."""
    return Split(*nnx.split(module))


def logits(
    params: PyTree, x: Float[Array, "batch pixels"], *, graph: nnx.GraphDef
) -> Float[Array, "batch classes"]:
    """The inputs of the softmax, without dropout."""
    return nnx.merge(graph, params)(x)


def cost(
    params: PyTree,
    batch: tuple[Real[AnyArray, "batch pixels"], Int[AnyArray, "batch"]],
    key: Key[Array, ""],
    *,
    graph: nnx.GraphDef,
    pixel_scale: Float[AnyArray, ""],
    weight_decay: Float[AnyArray, ""] | None = None,
) -> Float[AnyArray, ""]:
    r"""The mean negative log-likelihood of the labels, in nats per image, with weight decay.

    .. math:: -\frac{1}{n} \sum_i \log p_{t_i}(x_i) + \frac{\lambda}{2} \sum_k \|W_k\|^2

    Args:
        params: The parameters of the module that `graph` describes.
        batch: Images as the data set holds them, and their labels 0 .. K-1.
        key: A new key for this minibatch's dropout.
        graph: See `split`.
        pixel_scale: Divisor of integer pixels.
        weight_decay: :math:`\lambda`; see `objectives.weight_decay`. The tutorial's L2 coefficient,
            which has no half, is half of it.
    """
    images, labels = batch
    model = nnx.merge(graph, params)
    x = jnp.asarray(autoencoder.pixels(images, pixel_scale))
    a = model(x, nnx.Rngs(dropout=key))
    value = optax.softmax_cross_entropy_with_integer_labels(a, labels).mean()
    if weight_decay is not None:
        value += objectives.weight_decay(params, weight_decay)
    return value
