r"""The denoising autoencoder (dA): equations (1) to (4) of the tutorial as pure functions.

.. math::
    y &= s(\tilde x W + b)          && (1) \\
    z &= s(y W' + b')               && (2) \\
    W' &= W^T                       && (3) \\
    L_H(x, z) &= -\sum_k [x_k \log z_k + (1 - x_k) \log(1 - z_k)]   && (4)

Weights that satisfy (3) are called tied. :math:`s` is the logistic sigmoid and :math:`\tilde x` a
corrupted copy of :math:`x` (deeplearning.net tutorial, "Denoising Autoencoders"; Vincent et al.,
ICML 2008). A model is its parameters; every function below takes them as its first argument and
keeps no state.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key, Real, Shaped

from dae_jax import corruption, objectives
from dae_jax.errors import InputError
from dae_jax.objectives import AnyArray

__all__ = [
    "DECODERS",
    "AnyParams",
    "Params",
    "UntiedParams",
    "cost",
    "decode",
    "decode_logits",
    "decoder_weights",
    "denoising_cost",
    "encode",
    "fill",
    "init",
    "init_tutorial",
    "pixels",
    "reconstruct",
    "weight_range",
]


class Params(NamedTuple):
    """Parameters with tied weights, equation (3): the decoder uses the transpose of `W`."""

    W: Float[AnyArray, "visible hidden"]
    b: Float[AnyArray, "hidden"]
    b_prime: Float[AnyArray, "visible"]


class UntiedParams(NamedTuple):
    """Parameters with untied weights: the decoder has its own matrix `W_prime`."""

    W: Float[AnyArray, "visible hidden"]
    b: Float[AnyArray, "hidden"]
    b_prime: Float[AnyArray, "visible"]
    W_prime: Float[AnyArray, "hidden visible"]


AnyParams = Params | UntiedParams
"""The parameters of a dA, tied or untied."""


def init(
    key: Key[Array, ""],
    n_visible: int,
    n_hidden: int,
    *,
    tied: bool = True,
    W: ArrayLike | None = None,
    b: ArrayLike | None = None,
    b_prime: ArrayLike | None = None,
) -> AnyParams:
    r"""Draw initial parameters: uniform weights, zero biases.

    .. math:: W_{ij} \sim U(-r, r), \qquad r = 4\sqrt{6 / (n_{visible} + n_{hidden})}

    the range that Glorot & Bengio (2010) recommend for sigmoid units.

    The last three of its seven parameters are the tutorial's own, for sharing weights.

    Args:
        key: A JAX random key.
        n_visible: Number of inputs (pixels), at least 1.
        n_hidden: Number of hidden units, at least 1.
        tied: Whether the decoder uses ``W.T``; if not, it gets a `W_prime` drawn like `W`.
        W: Weights (n_visible, n_hidden) to use instead of a draw, to share weights with another
            network (the tutorial's "shared variables").
        b: Hidden bias (n_hidden,) to use instead of zeros.
        b_prime: Visible bias (n_visible,) to use instead of zeros.

    Raises:
        InputError: A size below 1, or an array whose shape does not fit the sizes.
    """
    _check_sizes(n_visible, n_hidden)
    r = weight_range(n_visible, n_hidden)
    key_w, key_w_prime = jax.random.split(key)

    def draw(key: Array, shape: tuple[int, int]) -> Array:
        return jax.random.uniform(key, shape, minval=-r, maxval=r)

    W = draw(key_w, (n_visible, n_hidden)) if W is None else W
    W_prime = None if tied else draw(key_w_prime, (n_hidden, n_visible))
    return _assemble(n_visible, n_hidden, W, b, b_prime, W_prime)


def init_tutorial(
    seed: int,
    n_visible: int,
    n_hidden: int,
    *,
    tied: bool = True,
    W: ArrayLike | None = None,
    b: ArrayLike | None = None,
    b_prime: ArrayLike | None = None,
) -> AnyParams:
    """Draw the tutorial's initial weights, bit for bit, with NumPy's legacy generator.

    The original draws one number below 2**30 (the seed of Theano's corruption stream), then the
    weights. An untied `W_prime`, which the original does not have, is drawn after them. The seven
    parameters are those of `init`.

    Args:
        seed: 0 to 2**32 - 1; the tutorial uses 123.
        n_visible: See `init`, as for the following arguments.

    Raises:
        InputError: As for `init`, or a seed out of range.

    >>> [round(float(w), 6) for w in init_tutorial(123, 784, 500).W[0, :3]]
    [0.116459, -0.039117, 0.104389]
    """
    _check_sizes(n_visible, n_hidden)
    if not 0 <= seed < 2**32:
        raise InputError("seed", expected="a whole number in [0, 2**32)", got=seed)
    rng = np.random.RandomState(seed)
    rng.randint(2**30)
    r = weight_range(n_visible, n_hidden)
    drawn = rng.uniform(-r, r, (n_visible, n_hidden))
    W_prime = None if tied else rng.uniform(-r, r, (n_hidden, n_visible))
    return _assemble(n_visible, n_hidden, drawn if W is None else W, b, b_prime, W_prime)


def weight_range(n_visible: int, n_hidden: int) -> float:
    """The half-width r of the initial weights' uniform distribution; see `init`."""
    return 4 * float(np.sqrt(6 / (n_visible + n_hidden)))


def encode(params: AnyParams, x: Float[AnyArray, "... visible"]) -> Float[AnyArray, "... hidden"]:
    """The code, equation (1): ``y = s(x W + b)``, each unit in (0, 1)."""
    return jax.nn.sigmoid(x @ params.W + params.b)


def decoder_weights(params: AnyParams) -> Float[AnyArray, "hidden visible"]:
    """The decoder's matrix, equation (3): ``W.T`` if the weights are tied, else `W_prime`."""
    return params.W.T if isinstance(params, Params) else params.W_prime


def decode_logits(
    params: AnyParams, y: Float[AnyArray, "... hidden"]
) -> Float[AnyArray, "... visible"]:
    """The reconstruction before its sigmoid, ``a = y W' + b'``."""
    return y @ decoder_weights(params) + params.b_prime


def decode(params: AnyParams, y: Float[AnyArray, "... hidden"]) -> Float[AnyArray, "... visible"]:
    """The reconstruction from a code, equation (2): ``z = s(y W' + b')``, in (0, 1)."""
    return jax.nn.sigmoid(decode_logits(params, y))


DECODERS = {"sigmoid": decode, "linear": decode_logits}
"""The decoders, by the names that ``--decoder`` takes."""


def reconstruct(
    params: AnyParams, x: Float[AnyArray, "... visible"]
) -> Float[AnyArray, "... visible"]:
    """The reconstruction of `x`, equations (1) and (2) in turn."""
    return decode(params, encode(params, x))


def cost(
    params: AnyParams,
    x: Float[AnyArray, "batch visible"],
    x_tilde: Float[AnyArray, "batch visible"],
    objective: Literal["cross-entropy", "squared-error"] = "cross-entropy",
    decoder: Literal["sigmoid", "linear"] = "sigmoid",
    weights: Shaped[AnyArray, "batch visible"] | None = None,
) -> Float[AnyArray, ""]:
    """The cost of reconstructing the clean `x` from its corrupted copy `x_tilde`.

    Args:
        params: The model.
        x: Clean images; in [0, 1] unless the decoder is linear.
        x_tilde: Corrupted copies of them, all that the encoder sees.
        objective: Equation (4), or the squared error.
        decoder: ``"sigmoid"`` is equation (2); ``"linear"`` leaves out its sigmoid, for inputs
            that are not in [0, 1] (Vincent et al. 2010, section 2.2), with the squared error only.
        weights: Weight of each entry of `x` in the sum, at least 0, or whether it counts; all are 1
            if None.

    Returns:
        A scalar: summed over the pixels, averaged over the minibatch.
    """
    a = decode_logits(params, encode(params, x_tilde))
    output = jax.nn.sigmoid if decoder == "sigmoid" else lambda a: a
    return objectives.reconstruction(a, x, objective, output, weights)


def denoising_cost(
    params: AnyParams,
    batch: Real[AnyArray, "batch visible"],
    key: Key[Array, ""],
    *,
    level: float | Float[AnyArray, ""],
    pixel_scale: float | Float[AnyArray, ""] = 255.0,
    noise: str | corruption.Noise = "masking",
    objective: Literal["cross-entropy", "squared-error"] = "cross-entropy",
    decoder: Literal["sigmoid", "linear"] = "sigmoid",
    missing: bool = False,
    emphasis: tuple[float | Array, float | Array] | None = None,
) -> Float[AnyArray, ""]:
    r"""The cost that training minimises: scale the pixels, corrupt them anew, reconstruct them.

    With emphasis :math:`(\alpha, \beta)`, entries that the noise has changed and others have
    different weights (Vincent et al., JMLR 2010: "emphasis on corrupted dimensions"),

    .. math::
        \alpha \sum_{k \in J(\tilde x)} \ell(x_k, z_k)
        + \beta \sum_{k \notin J(\tilde x)} \ell(x_k, z_k)

    with the cross-entropy or the squared error of one entry as :math:`\ell`. A pixel that was 0
    before it was masked is in :math:`J` too; of Gaussian noise, all are.

    Its ten parameters are a cost's three, and three numbers and four choices of code for
    `training.bind`.

    Args:
        params: The model.
        batch: Images as the data set holds them; see `pixels`.
        key: A new key for this minibatch's noise.
        level: Corruption level or, for Gaussian noise, standard deviation.
        pixel_scale: Divisor of integer pixels.
        noise: A name in `corruption.NOISES`, or a function of your own; see `corruption.corrupt`.
        objective: See `cost`, as for `decoder`.
        missing: Whether NaN in the batch stand for missing values: 0 at the input, as if they were
            masked, and left out of the cost.
        emphasis: The weights of entries that the noise has changed, and of the others, at least 0;
            None for 1 and 1.
    """
    x, weights = pixels(batch, pixel_scale), None
    observed = ~jnp.isnan(x) if missing else None
    x = fill(x) if missing else x
    x_tilde = corruption.corrupt(key, x, level, noise)
    if emphasis is not None:
        changed = corruption.changed(jax.random.clone(key), x, level, noise)
        weights = jnp.where(changed, *(jnp.asarray(weight, x.dtype) for weight in emphasis))
    if observed is not None:
        x_tilde = jnp.where(observed, x_tilde, 0)
        weights = observed if weights is None else jnp.where(observed, weights, 0)
    return cost(params, x, x_tilde, objective, decoder, weights)


def fill(x: Float[AnyArray, "..."]) -> Float[Array, "..."]:
    """Set missing values, which are NaN, to 0: to a denoising autoencoder they are masked.

    >>> fill(jnp.array([0.5, jnp.nan])).tolist()
    [0.5, 0.0]
    """
    return jnp.where(jnp.isnan(x), 0, x)


def pixels(
    batch: Real[AnyArray, "..."], pixel_scale: float | Float[AnyArray, ""]
) -> Float[AnyArray, "..."]:
    """Images as the model sees them: integers are divided by `pixel_scale`, floats are unchanged.

    Images stay on the device as bytes, which take a quarter of the memory of floats, and become
    numbers in [0, 1] only inside the training step.
    """
    scale = jnp.asarray(pixel_scale, float)
    return batch.astype(scale.dtype) / scale if jnp.issubdtype(batch.dtype, jnp.integer) else batch


def _check_sizes(n_visible: int, n_hidden: int) -> None:
    for name, size in (("n_visible", n_visible), ("n_hidden", n_hidden)):
        if size < 1:
            raise InputError(name, expected="at least 1", got=size)


def _assemble(
    n_visible: int,
    n_hidden: int,
    W: ArrayLike,
    b: ArrayLike | None,
    b_prime: ArrayLike | None,
    W_prime: ArrayLike | None,
) -> AnyParams:
    """Check the shapes; return the parameters as arrays of JAX's default float type."""

    def array(name: str, value: ArrayLike | None, *shape: int) -> Array:
        value = jnp.zeros(shape) if value is None else jnp.asarray(value, float)
        if value.shape != shape:
            raise InputError(name, expected=f"shape {shape}", got=value.shape)
        return value

    shared = (
        array("W", W, n_visible, n_hidden),
        array("b", b, n_hidden),
        array("b_prime", b_prime, n_visible),
    )
    if W_prime is None:
        return Params(*shared)
    return UntiedParams(*shared, array("W_prime", W_prime, n_hidden, n_visible))
