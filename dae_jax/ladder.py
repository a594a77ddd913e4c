r"""The ladder network: a denoising cost at every layer, trained together with a classifier.

The noisy encoder, for :math:`l = 1, \dots, L`, with :math:`\tilde z^{(0)} = \tilde h^{(0)} = x +
n^{(0)}` and Gaussian noise :math:`n`:

.. math::
    \tilde z^{(l)} &= N(\tilde h^{(l-1)} W^{(l)}) + n^{(l)}                  && (1) \\
    \tilde h^{(l)} &= \phi(\tilde z^{(l)} + \beta^{(l)})                     && (2) \\
    P(\tilde y \mid x) &= \mathrm{softmax}(\gamma (\tilde z^{(L)} + \beta^{(L)}))  && (3)

:math:`N` normalises each unit to mean 0 and variance 1 over a minibatch, :math:`\phi` is the
rectifier. The clean encoder is the same without noise, and its :math:`z^{(l)}` are the targets of
the decoder, for :math:`l = L, \dots, 0`:

.. math::
    u^{(L)} &= N(P(\tilde y \mid x)), \qquad u^{(l)} = N(\hat z^{(l+1)} V^{(l)})   && (4) \\
    \hat z^{(l)} &= (\tilde z^{(l)} - \mu(u^{(l)}))\, \upsilon(u^{(l)}) + \mu(u^{(l)})  && (5) \\
    \mu(u) &= a_1 s(a_2 u + a_3) + a_4 u + a_5, \qquad
    \upsilon(u) = a_6 s(a_7 u + a_8) + a_9 u + a_{10}                        && (6)

The cost adds a denoising cost of each layer to the classifier's:

.. math::
    C = -\frac{1}{N} \sum_i \log P(\tilde y = t_i \mid x_i) + \sum_{l=0}^L
    \frac{\lambda_l}{M m_l} \sum_j \left\| z_j^{(l)} - N_z(\hat z_j^{(l)}) \right\|^2   && (7)

over :math:`N` images with and :math:`M` without labels; :math:`m_l` is the width of layer l, and
:math:`N_z` normalises with the mean and the variance that made :math:`z` (Rasmus, Berglund,
Honkala, Valpola & Raiko, "Semi-Supervised Learning with Ladder Networks", NIPS 2015, algorithm 1).
A dA is the case of one layer, with the cost at :math:`l = 0` alone.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, Real

from dae_jax import autoencoder, corruption, stacked
from dae_jax.errors import InputError
from dae_jax.objectives import AnyArray

__all__ = [
    "Params",
    "Statistics",
    "classifier",
    "combine",
    "cost",
    "denoising_cost",
    "init",
    "normalise",
    "statistics",
]

EPSILON = 1e-10
"""Added to a variance before its root is taken, as the authors do."""


class Params(NamedTuple):
    """The parameters of a ladder network of L layers; each tuple goes from the images up."""

    W: tuple[Float[AnyArray, "inputs units"], ...]
    """The weights of layers 1 to L, equation (1)."""
    beta: tuple[Float[AnyArray, "units"], ...]
    """Their biases, equation (2)."""
    gamma: Float[AnyArray, "classes"]
    """The scale of the softmax layer, equation (3); a rectifier needs none."""
    V: tuple[Float[AnyArray, "units_above units"], ...]
    """The decoder's weights, from layer l + 1 to l, for 0 to L - 1, equation (4)."""
    a: tuple[Float[AnyArray, "10 units"], ...]
    """The combinators of layers 0 to L: a_1 to a_10 of each unit, equation (6)."""


class Statistics(NamedTuple):
    """The mean and the variance of each unit of a layer before its normalisation."""

    mean: Float[AnyArray, "units"]
    variance: Float[AnyArray, "units"]


def init(key: Key[Array, ""], widths: Sequence[int]) -> Params:
    r"""Draw initial parameters: normal weights, and combinators whose estimate is 0.

    .. math:: W_{ij} \sim N(0, 1 / n), \qquad V_{ij} \sim N(0, 1 / n)

    with n inputs of the matrix; all :math:`a` are 0 but :math:`a_2 = a_7 = 1`, as in the authors'
    code.

    Args:
        key: A JAX random key.
        widths: The number of pixels, the units of each layer, and the number of classes.

    Raises:
        InputError: Fewer than two widths, or one below 1.
    """
    if len(widths) < 2 or min(widths) < 1:
        expected = "pixels, units of each layer and classes, each at least 1"
        raise InputError("widths", expected=expected, got=tuple(widths))
    keys = jax.random.split(key, 2 * len(widths))
    pairs = list(pairwise(widths))

    def draw(key: Array, n_in: int, n_out: int) -> Array:
        return jax.random.normal(key, (n_in, n_out)) / n_in**0.5

    return Params(
        W=tuple(draw(keys[2 * i], below, above) for i, (below, above) in enumerate(pairs)),
        beta=tuple(jnp.zeros(width) for width in widths[1:]),
        gamma=jnp.ones(widths[-1]),
        V=tuple(draw(keys[2 * i + 1], above, below) for i, (below, above) in enumerate(pairs)),
        a=tuple(jnp.zeros((10, width)).at[jnp.array([1, 6])].set(1.0) for width in widths),
    )


def normalise(z: Float[AnyArray, "batch units"], of: Statistics) -> Float[AnyArray, "batch units"]:
    """Subtract a mean from each unit and divide by the root of a variance."""
    return (z - of.mean) * jax.lax.rsqrt(of.variance + EPSILON)


def _own(z: Float[AnyArray, "batch units"]) -> Statistics:
    """The statistics of a minibatch."""
    return Statistics(z.mean(axis=0), z.var(axis=0))


def combine(
    a: Float[AnyArray, "10 units"],
    z_tilde: Float[AnyArray, "batch units"],
    u: Float[AnyArray, "batch units"],
) -> Float[AnyArray, "batch units"]:
    r"""The estimate of a layer from its noisy value and the layer above, equations (5) and (6).

    It is the best linear estimate of :math:`z` from :math:`\tilde z = z + n` if both are Gaussian
    and :math:`u` tells the mean and the variance of z.

    Args:
        a: a_1 to a_10 of each unit.
        z_tilde: The noisy values of the layer.
        u: The signal from above.
    """
    mu = a[0] * jax.nn.sigmoid(a[1] * u + a[2]) + a[3] * u + a[4]
    gain = a[5] * jax.nn.sigmoid(a[6] * u + a[7]) + a[8] * u + a[9]
    return (z_tilde - mu) * gain + mu


def denoising_cost(
    z: Float[AnyArray, "batch units"], estimate: Float[AnyArray, "batch units"], of: Statistics
) -> Float[Array, ""]:
    """The denoising cost of one layer, per unit and image: the sum over l in equation (7).

    Args:
        z: The clean values.
        estimate: The decoder's estimate of them.
        of: The statistics of the clean layer.
    """
    return jnp.mean((z - normalise(estimate, of)) ** 2)


def cost(
    params: Params,
    batch: tuple[
        Real[AnyArray, "unlabelled pixels"],
        tuple[Real[AnyArray, "labelled pixels"], Int[AnyArray, "labelled"]],
    ],
    key: Key[Array, ""],
    *,
    weights: Sequence[float],
    noise: Float[AnyArray, "layers"],
    pixel_scale: Float[AnyArray, ""],
) -> Float[Array, ""]:
    """The cost of a ladder network, equation (7), for `training.fit`.

    Images with labels and images without are normalised apart. All weights but the first are 0 in
    the model that the authors call *bottom*, all but the last in their *Gamma*.

    Args:
        params: The network.
        batch: Images without labels; and images with labels, and these, 0 .. K-1.
        key: A new key for this minibatch's noise.
        weights: lambda_0 to lambda_L, numbers that select code: the decoder ends at the lowest
            layer whose weight is not 0.
        noise: The standard deviation of the noise of layers 0 to L.
        pixel_scale: Divisor of integer pixels; see `autoencoder.pixels`.

    Returns:
        A scalar, in nats per image.
    """
    unlabelled, (images, labels) = batch
    clean = autoencoder.pixels(unlabelled, pixel_scale)
    parts = [autoencoder.pixels(images, pixel_scale), clean, clean]
    z, noisy, of, logits = _encode(params, parts, key, noise)
    supervised = optax.softmax_cross_entropy_with_integer_labels(logits[0], labels).mean()

    denoising, above = jnp.zeros(()), jax.nn.softmax(logits[1])
    lowest = next((level for level, weight in enumerate(weights) if weight), len(weights))
    for level in reversed(range(lowest, len(weights))):
        u = above if level == len(params.W) else above @ params.V[level]
        above = combine(params.a[level], noisy[level], normalise(u, _own(u)))
        if weights[level]:
            own = denoising_cost(z[level], above, of[level])
            denoising = denoising + weights[level] * own
    return supervised + denoising


def _encode(
    params: Params,
    parts: Sequence[Float[AnyArray, "_ pixels"]],
    key: Key[Array, ""],
    noise: Float[AnyArray, "layers"],
) -> tuple[list[AnyArray], list[AnyArray], list[Statistics], list[AnyArray]]:
    """Encode labelled and unlabelled images with noise, and the unlabelled ones without.

    The three share each matrix product and are normalised apart.

    Returns:
        The clean z of all layers; the noisy ones of the unlabelled images; the statistics of the
        clean layers; and the inputs of the softmax for the three parts.
    """
    sizes = [len(part) for part in parts]
    ends = [sizes[0], sizes[0] + sizes[1]]
    keys = jax.random.split(key, len(params.W) + 1)

    def corrupted(level: int, three: Sequence[AnyArray]) -> list[AnyArray]:
        labelled, unlabelled, clean = three
        both = corruption.gaussian(
            keys[level], jnp.concatenate([labelled, unlabelled]), noise[level]
        )
        return [both[: ends[0]], both[ends[0] :], clean]

    h = three = corrupted(0, parts)
    width = parts[0].shape[1]
    z, noisy = [three[2]], [three[1]]
    of = [Statistics(jnp.zeros(width, three[2].dtype), jnp.ones(width, three[2].dtype))]
    for level, (W, beta) in enumerate(zip(params.W, params.beta, strict=True), start=1):
        before = jnp.split(jnp.concatenate(h) @ W, ends)
        own = [_own(part) for part in before]
        normalised = [normalise(*pair) for pair in zip(before, own, strict=True)]
        three = corrupted(level, normalised)
        z, noisy, of = [*z, three[2]], [*noisy, three[1]], [*of, own[2]]
        top = level == len(params.W)
        h = [params.gamma * (part + beta) if top else jax.nn.relu(part + beta) for part in three]
    return z, noisy, of, h


def statistics(params: Params, x: Float[AnyArray, "images pixels"]) -> tuple[Statistics, ...]:
    """The statistics of every layer over a set of images, which prediction normalises with.

    With them, the prediction for an image does not depend on the images beside it.

    Args:
        params: The network.
        x: Images as the network sees them.

    Returns:
        One per layer, from 1 to L.
    """
    h, all_layers = x, []
    for W, beta in zip(params.W, params.beta, strict=True):
        z = h @ W
        own = _own(z)
        all_layers.append(own)
        h = jax.nn.relu(normalise(z, own) + beta)
    return tuple(all_layers)


def classifier(params: Params, of: Sequence[Statistics]) -> stacked.Classifier:
    r"""The trained network without noise and decoder: rectifier layers and a softmax layer.

    A normalisation by fixed numbers is part of the weights and the bias:

    .. math::
        \gamma \left( \frac{h W - m}{\sqrt{v}} + \beta \right) = h \frac{\gamma W}{\sqrt v} +
        \gamma \left( \beta - \frac{m}{\sqrt v} \right)

    Args:
        params: The network.
        of: From `statistics`.

    Returns:
        Parameters for `stacked.encode` and `stacked.logits` with the activation ``jax.nn.relu``.
    """
    layers = []
    for W, beta, (mean, variance) in zip(params.W, params.beta, of, strict=True):
        scale = jax.lax.rsqrt(variance + EPSILON)
        layers.append(stacked.Layer(W * scale, beta - mean * scale))
    *hidden, top = layers
    top = stacked.Layer(top.W * params.gamma, top.b * params.gamma)
    return stacked.Classifier(tuple(hidden), top)
