r"""The supervised baselines: softmax regression, an MLP, LeNet.

These are what a library has layers for: Flax's NNX modules, split into what they compute (a
hashable graph, compiled in) and what they have learnt (a pytree), so that the cost is as pure as
any other here and `training.fit` trains them like everything else.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Key, Real

from dae_jax import autoencoder, objectives
from dae_jax.objectives import AnyArray

PyTree = Any


class MLP(nnx.Module):
    r"""A multilayer perceptron; without hidden layers it is softmax regression.

    .. math:: h_k = s(h_{k-1} W_k + b_k), \qquad p = \mathrm{softmax}(h_K W + b)

    The top layer begins with zeros, as in the deeplearning.net tutorials, the others with Glorot
    and Bengio's uniform weights; or all begin as TensorFlow's tutorials had it, with normal weights
    cut off at two standard deviations, and positive biases, which keep ReLU units alive.

    Args:
        sizes: Pixels, units of each hidden layer, classes.
        activation: The :math:`s`.
        dropout: The probability, in [0, 1), of leaving out a hidden unit.
        input_dropout: The same for a pixel.
        deviation: The standard deviation of normal weights; without it, the first kind.
        bias: What all biases begin with.
        rngs: Where the weights come from.
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
        rngs: nnx.Rngs,
    ):
        first = _initial(deviation, bias, rngs)
        *pairs, last = pairwise(sizes)
        self.hidden = nnx.List(nnx.Linear(*pair, **first) for pair in pairs)
        top = dict(first)
        if deviation is None:
            top["kernel_init"] = nnx.initializers.zeros_init()
        self.top = nnx.Linear(*last, **top)
        self.activation = activation
        self.input_dropout = nnx.Dropout(input_dropout)
        self.dropout = nnx.Dropout(dropout)

    def __call__(
        self, x: Float[Array, "batch pixels"], rngs: nnx.Rngs | None = None
    ) -> Float[Array, "batch classes"]:
        """What the softmax is taken of; dropout only where there is randomness for it."""
        x = self.input_dropout(x, deterministic=rngs is None, rngs=rngs)
        for layer in self.hidden:
            x = self.activation(layer(x))
            x = self.dropout(x, deterministic=rngs is None, rngs=rngs)
        return self.top(x)


def _initial(deviation: float | None, bias: float, rngs: nnx.Rngs) -> dict[str, Any]:
    """How the weights and biases of a layer begin."""
    init = nnx.initializers
    weights = init.glorot_uniform() if deviation is None else init.truncated_normal(deviation)
    return {"kernel_init": weights, "bias_init": init.constant(bias), "rngs": rngs}


class LeNet(nnx.Module):
    """Two rounds of convolution and max-pooling, a hidden layer, a softmax layer of zeros.

    After LeCun, Bottou, Bengio & Haffner (1998), as the deeplearning.net tutorial has it: 28 x 28
    pixels, kernels of 5 x 5 without padding, pooling by 2, so 12 x 12 and then 4 x 4.

    Args:
        kernels: Of the first and the second convolution.
        units: Of the hidden layer.
        n_classes: Number of classes.
        activation: Of convolutions and hidden layer.
        padding: ``"VALID"``, or ``"SAME"``, which keeps 14 x 14 and 7 x 7.
        dropout: The probability of leaving out a hidden unit.
        deviation: See `MLP`.
        bias: See `MLP`.
        rngs: Where the weights come from.
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
        """What the softmax is taken of."""
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

    Inside a `lax.scan` XLA's own convolution is many times slower there, which is where training
    takes place. The patches are laid side by side, a row a pixel ("im2col").
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
    """The largest of every 2 x 2 pixels; of ties, the gradient goes to all alike."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


class Split(NamedTuple):
    """A module in two: what it computes, hashable; and its parameters, a pytree."""

    graph: nnx.GraphDef
    params: PyTree


def split(module: nnx.Module) -> Split:
    """Take the parameters out of a module."""
    return Split(*nnx.split(module))


def logits(
    params: PyTree, x: Float[Array, "batch pixels"], *, graph: nnx.GraphDef
) -> Float[Array, "batch classes"]:
    """What the softmax is taken of, without dropout."""
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
    r"""The mean negative log-likelihood of the labels, in nats an image.

    .. math:: -\frac{1}{n} \sum_i \log p_{t_i}(x_i) + \lambda \sum_k \|W_k\|^2

    Args:
        params: Of the module that `graph` describes.
        batch: Images as the data set holds them, and their labels 0 .. K-1.
        key: A fresh key for this minibatch's dropout.
        graph: See `split`.
        pixel_scale: What integer pixels are divided by.
        weight_decay: The tutorial's L2 coefficient :math:`\lambda` (without a half), of matrices
            and kernels alone.
    """
    images, labels = batch
    model = nnx.merge(graph, params)
    x = jnp.asarray(autoencoder.pixels(images, pixel_scale))
    a = model(x, nnx.Rngs(dropout=key))
    value = optax.softmax_cross_entropy_with_integer_labels(a, labels).mean()
    if weight_decay is not None:
        value += weight_decay * objectives.squared_weights(params)
    return value
