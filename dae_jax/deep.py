r"""Autoencoders of any depth, tied or untied, and the cost that all of them share.

.. math::
    h_0 &= \tilde x, \qquad h_k = s_k(h_{k-1} W_k + b_k), \quad k = 1 \ldots K \\
    z_0 &= h_K, \qquad z_k = t_k(z_{k-1} V_k + c_k), \quad k = 1 \ldots K

with code :math:`h_K` and reconstruction :math:`z_K` (Hinton & Salakhutdinov, Science 2006). What an
autoencoder computes is its `Architecture`, which never changes; what it has learnt is a pytree. The
dA of `autoencoder` is the case K = 1 with sigmoids and tied weights. Corruption, sparsity,
contraction and weight decay are terms of one `cost`: give a number and the term is there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Real

from dae_jax import autoencoder, corruption, objectives
from dae_jax.errors import InputError
from dae_jax.objectives import AnyArray
from dae_jax.stacked import Layer

OBJECTIVES = "cross-entropy", "squared-error"
ACTIVATIONS: dict[str, Callable[..., Array]] = {
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "elu": jax.nn.elu,
    "softplus": jax.nn.softplus,
    "linear": lambda a: a,
}


@dataclass(frozen=True)
class Architecture:
    """What an autoencoder computes: hashable, so that it is compiled in.

    The decoder mirrors the encoder: ``Architecture((784, 512, 2))`` is 784-512-2-512-784.

    Raises:
        InputError: Fewer than two sizes, one below 1, or an activation that is not known.
    """

    sizes: tuple[int, ...]  # units of each layer, from the pixels to the code
    hidden: str = "sigmoid"  # a name in ACTIVATIONS, of every layer but the code and the output
    code: str = "sigmoid"
    output: str = "sigmoid"
    tied: bool = False  # whether the decoder reads the transposed weights of the encoder

    def __post_init__(self) -> None:
        if len(self.sizes) < 2:
            raise InputError("sizes", expected="pixels, perhaps layers, a code", got=self.sizes)
        for size in self.sizes:
            if size < 1:
                what = "code size" if size is self.sizes[-1] else "layer size"
                raise InputError(what, expected="a whole number of at least 1", got=size)
        for name in (self.hidden, self.code, self.output):
            if name not in ACTIVATIONS:
                known = ", ".join(ACTIVATIONS)
                raise InputError("activation", expected=f"one of {known}", got=name)

    @property
    def encoder(self) -> tuple[str, ...]:
        """The activations from the first layer to the code."""
        return (*[self.hidden] * (len(self.sizes) - 2), self.code)

    @property
    def decoder(self) -> tuple[str, ...]:
        """The activations from the code's neighbour to the output."""
        return (*[self.hidden] * (len(self.sizes) - 2), self.output)


class Tied(NamedTuple):
    """One matrix a layer, which the decoder reads transposed, and the decoder's biases."""

    encoder: tuple[Layer, ...]
    b_prime: tuple[Float[AnyArray, "_"], ...]  # from the code out to the pixels


class Untied(NamedTuple):
    """The decoder has matrices of its own."""

    encoder: tuple[Layer, ...]
    decoder: tuple[Layer, ...]  # from the code out to the pixels


Params = Tied | Untied


def init(key: Key[Array, ""], architecture: Architecture, *, gain: float = 1.0) -> Params:
    r"""Fresh parameters: uniform weights, zero biases.

    .. math:: W_{ij} \sim U(-r, r), \qquad r = \text{gain} \sqrt{6 / (n_{in} + n_{out})}

    which Glorot & Bengio (2010) advise, with a gain of 4 for sigmoid units and of 1 for others.

    Args:
        key: A JAX random key.
        architecture: What for.
        gain: See above.
    """
    pairs = list(pairwise(architecture.sizes))
    keys = jax.random.split(key, 2 * len(pairs))

    def layer(key: Array, n_in: int, n_out: int) -> Layer:
        r = gain * (6 / (n_in + n_out)) ** 0.5
        return Layer(jax.random.uniform(key, (n_in, n_out), minval=-r, maxval=r), jnp.zeros(n_out))

    encoder = tuple(layer(k, *pair) for k, pair in zip(keys, pairs, strict=False))
    if architecture.tied:
        return Tied(encoder, tuple(jnp.zeros(n_in) for n_in, _ in reversed(pairs)))
    outward = zip(keys[len(pairs) :], reversed(pairs), strict=True)
    return Untied(encoder, tuple(layer(k, n_out, n_in) for k, (n_in, n_out) in outward))


def unroll(layers: Sequence[Tied | autoencoder.Params]) -> Untied:
    """A deep autoencoder out of a stack of pretrained ones, each tied and of one layer.

    The encoders follow each other upwards, their transposed copies downwards; from here on the two
    halves may part (Hinton & Salakhutdinov 2006, figure 1, "unrolling").

    Args:
        layers: From the pixels up.
    """
    encoder, decoder = [], []
    for dA in layers:
        if isinstance(dA, Tied):
            ((W, b),), (b_prime,) = dA
        else:
            W, b, b_prime = dA
        encoder.append(Layer(W, b))
        decoder.insert(0, Layer(W.T, b_prime))
    return Untied(tuple(encoder), tuple(decoder))


def decoder_layers(params: Params) -> tuple[Layer, ...]:
    """The decoder from the code out; of tied weights, the encoder's matrices transposed."""
    if isinstance(params, Untied):
        return params.decoder
    inward = zip(reversed(params.encoder), params.b_prime, strict=True)
    return tuple(Layer(layer.W.T, b) for layer, b in inward)


def encode(
    params: Params, x: Float[AnyArray, "... pixels"], architecture: Architecture
) -> Float[AnyArray, "... code"]:
    """The code of `x`."""
    for layer, name in zip(params.encoder, architecture.encoder, strict=True):
        x = ACTIVATIONS[name](x @ layer.W + layer.b)
    return x


def decode_logits(
    params: Params, code: Float[AnyArray, "... code"], architecture: Architecture
) -> Float[AnyArray, "... pixels"]:
    """The reconstruction from a code, before the activation of the output."""
    *hidden, output = decoder_layers(params)
    for layer, name in zip(hidden, architecture.decoder, strict=False):
        code = ACTIVATIONS[name](code @ layer.W + layer.b)
    return code @ output.W + output.b


def decode(
    params: Params, code: Float[AnyArray, "... code"], architecture: Architecture
) -> Float[AnyArray, "... pixels"]:
    """The reconstruction from a code: of any code, also one that no image has (generation)."""
    return ACTIVATIONS[architecture.output](decode_logits(params, code, architecture))


def reconstruct(
    params: Params, x: Float[AnyArray, "... pixels"], architecture: Architecture
) -> Float[AnyArray, "... pixels"]:
    """What the autoencoder makes of `x`."""
    return decode(params, encode(params, x, architecture), architecture)


def contraction(
    params: Params, x: Float[AnyArray, "batch pixels"], architecture: Architecture
) -> Float[Array, ""]:
    r"""The mean squared Frobenius norm of the code's Jacobian, at any depth, without autodiff.

    .. math::
        J^T = W_1 D_1 W_2 D_2 \cdots W_K D_K, \qquad D_k = \mathrm{diag}\, s_k'(a_k), \qquad
        \|J\|_F^2 = \mathrm{tr}\, (B^T W_1^T W_1 B)

    with :math:`B = D_1 W_2 D_2 \cdots`. With one layer B is diagonal, and this is the closed form
    of `objectives.contraction`. The cost of a deep one grows with the product of its widths.
    """
    slopes, h = [], x
    for layer, name in zip(params.encoder, architecture.encoder, strict=True):
        a = h @ layer.W + layer.b
        h, slope = jax.jvp(ACTIVATIONS[name], (a,), (jnp.ones_like(a),))
        slopes.append(slope)
    first, *above = params.encoder
    if not above:
        return objectives.contraction(slopes[0], first.W)
    B = jax.vmap(jnp.diag)(slopes[-1])
    for layer, slope in zip(reversed(above), reversed(slopes[:-1]), strict=True):
        B = slope[..., None] * (layer.W @ B)
    return jnp.mean(jnp.einsum("bik,ij,bjk->b", B, first.W.T @ first.W, B))


def cost(
    params: Params,
    batch: Real[AnyArray, "batch pixels"],
    key: Key[Array, ""],
    *,
    architecture: Architecture,
    pixel_scale: Float[AnyArray, ""],
    objective: str = "cross-entropy",
    noise: str = "masking",
    level: Float[AnyArray, ""] | None = None,
    l1: Float[AnyArray, ""] | None = None,
    kl: tuple[Float[AnyArray, ""], Float[AnyArray, ""]] | None = None,
    contract: Float[AnyArray, ""] | None = None,
    weight_decay: Float[AnyArray, ""] | None = None,
) -> Float[AnyArray, ""]:
    r"""The reconstruction of corrupted images, plus whatever is asked of the code.

    .. math::
        L(x, z(\tilde x)) + \lambda_1 \|h\|_1 + \beta\, \mathrm{KL}(\rho \,\|\, \hat\rho)
        + \lambda_c \left\|\frac{\partial h}{\partial x}\right\|_F^2
        + \frac{\lambda}{2} \sum_k \|W_k\|^2

    Args:
        params: The model; the gradient reaches both halves.
        batch: Images as the data set holds them; see `autoencoder.pixels`.
        key: A fresh key for this minibatch's noise.
        architecture: What is computed.
        pixel_scale: What integer pixels are divided by.
        objective: Cross-entropy wants a sigmoid output, and images in [0, 1].
        noise: A name in `corruption.NOISES`.
        level: How much of it; None corrupts nothing.
        l1: :math:`\lambda_1`; see `objectives.l1`.
        kl: :math:`(\beta, \rho)`, for codes in [0, 1]; see `objectives.kl_sparsity`.
        contract: :math:`\lambda_c`; see `contraction`.
        weight_decay: :math:`\lambda`, of the matrices alone.

    Returns:
        A scalar, summed over pixels and units, averaged over images.
    """
    x = autoencoder.pixels(batch, pixel_scale)
    x_tilde = x if level is None else corruption.NOISES[noise](key, x, level)
    h = encode(params, x_tilde, architecture)
    a = decode_logits(params, h, architecture)
    if objective == "cross-entropy":
        value = objectives.cross_entropy(a, x)
    else:
        value = objectives.squared_error(ACTIVATIONS[architecture.output](a), x)
    if l1 is not None:
        value += l1 * objectives.l1(h)
    if kl is not None:
        beta, rho = kl
        value += beta * objectives.kl_sparsity(h, rho)
    if contract is not None:
        value += contract * contraction(params, x_tilde, architecture)
    if weight_decay is not None:
        value += weight_decay / 2 * objectives.squared_weights(params)
    return value


def check(architecture: Architecture, objective: str) -> None:
    """Refuse a pair that would train towards nonsense.

    Raises:
        InputError: Cross-entropy without a sigmoid output, or an objective that is not known.
    """
    if objective not in OBJECTIVES:
        known = ", ".join(OBJECTIVES)
        raise InputError("objective", expected=f"one of {known}", got=objective)
    if objective == "cross-entropy" and architecture.output != "sigmoid":
        raise InputError(
            "cross-entropy",
            expected="a sigmoid output, in (0, 1)",
            got=architecture.output,
            do="use the squared error with it",
        )
