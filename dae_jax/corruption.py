r"""The corruption process :math:`\tilde x \sim q_D(\tilde x \mid x)` of a denoising autoencoder.

Vincent, Larochelle, Lajoie, Bengio & Manzagol, "Stacked Denoising Autoencoders", JMLR 2010,
section 3.3. Every function takes a key, an input of any shape and how much to corrupt, which may be
a traced number. A key is good for one draw: fold the epoch and the step into it.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from dae_jax.errors import InputError
from dae_jax.objectives import AnyArray


def mask(
    key: Key[Array, ""], x: Float[AnyArray, "..."], level: float | Float[AnyArray, ""]
) -> Float[Array, "..."]:
    r"""Masking noise: each entry is set to zero with probability `level`, independently.

    .. math:: \tilde x_i = x_i m_i, \qquad m_i \sim \mathrm{Bernoulli}(1 - \text{level})

    What is kept is kept as it is. Dropout would divide it by ``1 - level``; the dA does not, for
    the clean input is what has to come out.

    Args:
        key: A JAX random key.
        x: The clean input, any shape and range.
        level: The probability that an entry is lost, in [0, 1].

    Returns:
        The corrupted input, of `x`'s shape and dtype.

    Raises:
        InputError: A level out of its range, where it is a plain number: a traced one is not
            looked at.

    >>> mask(jax.random.key(0), jnp.ones(5), 1.0)
    Array([0., 0., 0., 0., 0.], dtype=float32)
    """
    _check_level(level)
    kept = jax.random.bernoulli(key, 1 - jnp.asarray(level), x.shape)
    return jnp.where(kept, x, jnp.zeros_like(x))


def gaussian(
    key: Key[Array, ""], x: Float[AnyArray, "..."], scale: float | Float[AnyArray, ""]
) -> Float[Array, "..."]:
    r"""Additive isotropic Gaussian noise.

    .. math:: \tilde x_i = x_i + \text{scale}\,\epsilon_i, \qquad \epsilon_i \sim N(0, 1)

    Args:
        key: A JAX random key.
        x: The clean input. The corrupted one may leave its range; it is not clipped.
        scale: Standard deviation, in units of `x`, at least 0.

    Returns:
        The corrupted input, of `x`'s shape and dtype.
    """
    return jnp.asarray(x) + jnp.asarray(scale, x.dtype) * jax.random.normal(key, x.shape, x.dtype)


def salt_and_pepper(
    key: Key[Array, ""], x: Float[AnyArray, "..."], level: float | Float[AnyArray, ""]
) -> Float[Array, "..."]:
    """Salt-and-pepper noise: each entry becomes 0 or 1, at even odds, with probability `level`.

    Args:
        key: A JAX random key.
        x: The clean input in [0, 1]; 0 and 1 are the least and the greatest value it may have.
        level: The probability that an entry is replaced, in [0, 1].

    Returns:
        The corrupted input, of `x`'s shape and dtype.

    Raises:
        InputError: As `mask` does.
    """
    _check_level(level)
    # One uniform draw decides both: below level/2 pepper, from there to level salt.
    u = jax.random.uniform(key, x.shape, x.dtype)
    level = jnp.asarray(level, x.dtype)
    return jnp.where(u < level / 2, 0, jnp.where(u < level, 1, x))


def _check_level(level: object) -> None:
    if isinstance(level, int | float) and not 0 <= level <= 1:
        raise InputError(
            "corruption level", expected="a probability in [0, 1]", got=level, do="30 % is 0.3"
        )


NOISES: dict[str, Callable[..., Array]] = {
    "masking": mask,
    "gaussian": gaussian,
    "salt-and-pepper": salt_and_pepper,
}
"""The corruption processes by the name that ``--noise`` takes."""
