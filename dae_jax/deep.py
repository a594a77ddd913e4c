r"""Autoencoders of any depth, tied or untied, and the cost that all of them share.

.. math::
    h_0 &= \tilde x, \qquad h_k = s_k(h_{k-1} W_k + b_k), \quad k = 1 \ldots K \\
    z_0 &= h_K, \qquad z_k = t_k(z_{k-1} V_k + c_k), \quad k = 1 \ldots K

with code :math:`h_K` and reconstruction :math:`z_K` (Hinton & Salakhutdinov, Science 2006). The
`Architecture` is fixed and hashable; the parameters are a pytree. The dA of `autoencoder` is the
case K = 1 with sigmoids and tied weights. Corruption, sparsity, contraction and weight decay are
optional terms of one `cost`: pass a number to add a term.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Real

from dae_jax import autoencoder, corruption, objectives
from dae_jax.errors import InputError, check_objective
from dae_jax.objectives import AnyArray
from dae_jax.stacked import Layer

__all__ = [
    "ACTIVATIONS",
    "Architecture",
    "Params",
    "Tied",
    "Untied",
    "check",
    "contraction",
    "cost",
    "decode",
    "decode_logits",
    "decoder_layers",
    "encode",
    "init",
    "reconstruct",
    "unroll",
]

ACTIVATIONS: dict[str, Callable[..., Array]] = {
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "elu": jax.nn.elu,
    "softplus": jax.nn.softplus,
    "linear": lambda a: a,
}
"""The activations, by name."""


@dataclass(frozen=True)
class Architecture:
    """The sizes and activations of an autoencoder; hashable, so that it can be compiled in.

    The decoder mirrors the encoder: ``Architecture((784, 512, 2))`` is 784-512-2-512-784.

    Raises:
        InputError: Fewer than two sizes, a size below 1, or an unknown activation.
    """

    sizes: tuple[int, ...]  # units of each layer, from the pixels to the code
    hidden: str = "sigmoid"  # a name in ACTIVATIONS, for all layers but the code and the output
    code: str = "sigmoid"
    output: str = "sigmoid"
    tied: bool = False  # whether the decoder uses the encoder's transposed weights

    def __post_init__(self) -> None:
        if len(self.sizes) < 2:
            raise InputError("sizes", expected="at least pixels and code", got=self.sizes)
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
        """The activations, from the first layer to the code."""
        return (*[self.hidden] * (len(self.sizes) - 2), self.code)

    @property
    def decoder(self) -> tuple[str, ...]:
        """The activations, from the layer after the code to the output."""
        return (*[self.hidden] * (len(self.sizes) - 2), self.output)


class Tied(NamedTuple):
    """Parameters with tied weights: one matrix per layer, and the decoder's biases."""

    encoder: tuple[Layer, ...]
    b_prime: tuple[Float[AnyArray, "_"], ...]  # from the code out to the pixels


class Untied(NamedTuple):
    """Parameters with untied weights: the decoder has its own matrices."""

    encoder: tuple[Layer, ...]
    decoder: tuple[Layer, ...]  # from the code out to the pixels


Params = Tied | Untied
"""The parameters of a deep autoencoder, tied or untied."""


def init(key: Key[Array, ""], architecture: Architecture, *, gain: float = 1.0) -> Params:
    r"""Draw initial parameters: uniform weights, zero biases.

    .. math:: W_{ij} \sim U(-r, r), \qquad r = \text{gain} \sqrt{6 / (n_{in} + n_{out})}

    as Glorot & Bengio (2010) recommend, with a gain of 4 for sigmoid units and 1 for others.

    Args:
        key: A JAX random key.
        architecture: The sizes, and whether the weights are tied.
        gain: Factor on the range of the weights, above 0.
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
    """Unroll a stack of pretrained autoencoders, each tied and of one layer, into a deep one.

    The encoders are stacked upwards, their transposed copies downwards; the two halves are then
    trained independently (Hinton & Salakhutdinov 2006, figure 1, "unrolling").

    Args:
        layers: The pretrained layers, from the pixels up.
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
    """The decoder's layers, from the code to the pixels; tied ones are the encoder's transposed."""
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
    """The reconstruction from a code, before the output's activation."""
    *hidden, output = decoder_layers(params)
    for layer, name in zip(hidden, architecture.decoder, strict=False):
        code = ACTIVATIONS[name](code @ layer.W + layer.b)
    return code @ output.W + output.b


def decode(
    params: Params, code: Float[AnyArray, "... code"], architecture: Architecture
) -> Float[AnyArray, "... pixels"]:
    """The reconstruction from a code, which may also be one that no image has (generation)."""
    return ACTIVATIONS[architecture.output](decode_logits(params, code, architecture))


def reconstruct(
    params: Params, x: Float[AnyArray, "... pixels"], architecture: Architecture
) -> Float[AnyArray, "... pixels"]:
    """The reconstruction of `x`."""
    return decode(params, encode(params, x, architecture), architecture)


def contraction(
    params: Params, x: Float[AnyArray, "batch pixels"], architecture: Architecture
) -> Float[Array, ""]:
    r"""The mean squared Frobenius norm of the code's Jacobian, at any depth, without autodiff.

    .. math::
        J^T = W_1 D_1 W_2 D_2 \cdots W_K D_K, \qquad D_k = \mathrm{diag}\, s_k'(a_k), \qquad
        \|J\|_F^2 = \mathrm{tr}\, (B^T W_1^T W_1 B)

    with :math:`B = D_1 W_2 D_2 \cdots`. With one layer B is diagonal, and this is the closed form
    of `objectives.contraction`. For deeper encoders the time grows with the product of the widths.
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
    batch: Real[AnyArray, "batch pixels"]
    | tuple[Real[AnyArray, "batch pixels"], Real[AnyArray, "batch pixels"]],
    key: Key[Array, ""],
    *,
    architecture: Architecture,
    pixel_scale: Float[AnyArray, ""],
    objective: str = "cross-entropy",
    noise: str | corruption.Noise = "masking",
    level: Float[AnyArray, ""] | None = None,
    l1: Float[AnyArray, ""] | None = None,
    kl: tuple[Float[AnyArray, ""], Float[AnyArray, ""]] | None = None,
    contract: Float[AnyArray, ""] | None = None,
    weight_decay: Float[AnyArray, ""] | None = None,
) -> Float[AnyArray, ""]:
    r"""The cost of reconstructing corrupted images, plus penalties on the code and the weights.

    .. math::
        L(x, z(\tilde x)) + \lambda_1 \|h\|_1 + \beta\, \mathrm{KL}(\rho \,\|\, \hat\rho)
        + \lambda_c \left\|\frac{\partial h}{\partial x}\right\|_F^2
        + \frac{\lambda}{2} \sum_k \|W_k\|^2

    Its twelve parameters are a cost's three, three names that select code, the divisor of pixels
    and one number for each optional term.

    Args:
        params: The model; both halves get gradients.
        batch: Images as the data set holds them; see `autoencoder.pixels`. Or a pair: images that
            were corrupted before, and their clean targets.
        key: A new key for this minibatch's noise.
        architecture: The sizes and activations.
        pixel_scale: Divisor of integer pixels.
        objective: ``"cross-entropy"``, for a sigmoid output and images in [0, 1], or
            ``"squared-error"``.
        noise: A name in `corruption.NOISES`, or a function; see `corruption.corrupt`.
        level: Corruption level; None for no corruption.
        l1: :math:`\lambda_1`; see `objectives.l1`.
        kl: :math:`(\beta, \rho)`, for codes in [0, 1]; see `objectives.kl_sparsity`.
        contract: :math:`\lambda_c`; see `contraction`.
        weight_decay: :math:`\lambda`; see `objectives.weight_decay`.

    Returns:
        A scalar, summed over pixels and units, averaged over images.
    """
    seen, target = batch if isinstance(batch, tuple) else (batch, batch)
    x = autoencoder.pixels(target, pixel_scale)
    x_tilde = corruption.corrupt(key, autoencoder.pixels(seen, pixel_scale), level, noise)
    h = encode(params, x_tilde, architecture)
    a = decode_logits(params, h, architecture)
    value = objectives.reconstruction(a, x, objective, ACTIVATIONS[architecture.output])
    if l1 is not None:
        value += l1 * objectives.l1(h)
    if kl is not None:
        beta, rho = kl
        value += beta * objectives.kl_sparsity(h, rho)
    if contract is not None:
        value += contract * contraction(params, x_tilde, architecture)
    if weight_decay is not None:
        value += objectives.weight_decay(params, weight_decay)
    return value


def check(architecture: Architecture, objective: str) -> None:
    """Check that an objective is known and fits the output of an architecture.

    Raises:
        InputError: Cross-entropy without a sigmoid output, or an unknown objective.
    """
    if objective not in objectives.OBJECTIVES:
        known = ", ".join(objectives.OBJECTIVES)
        raise InputError("objective", expected=f"one of {known}", got=objective)
    check_objective(objective, architecture.output)
