r"""Random changes of an input: the corruption of a dA, dropout, and shifts of images.

The corruption process :math:`\tilde x \sim q_D(\tilde x \mid x)` of a denoising autoencoder
(Vincent, Larochelle, Lajoie, Bengio & Manzagol, "Stacked Denoising Autoencoders", JMLR 2010,
section 3.3) changes an input whose clean copy is the target: `mask`, `mask_count`, `gaussian`,
`salt_and_pepper`, and, for tables, `swap`. Dropout (`drop`) removes units of a classifier;
augmentation (`shift`) moves an image without changing its class. Every function takes a key, an
input, and an amount, which may be traced. Use a key for one draw only: fold the epoch and the step
into it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, Real

from dae_jax.errors import InputError
from dae_jax.objectives import AnyArray

__all__ = [
    "NOISES",
    "Noise",
    "changed",
    "corrupt",
    "drop",
    "gaussian",
    "mask",
    "mask_count",
    "salt_and_pepper",
    "shift",
    "shifted",
    "swap",
]


def mask(
    key: Key[Array, ""], x: Float[AnyArray, "..."], level: float | Float[AnyArray, ""]
) -> Float[Array, "..."]:
    r"""Masking noise: each entry is set to zero with probability `level`, independently.

    .. math:: \tilde x_i = x_i m_i, \qquad m_i \sim \mathrm{Bernoulli}(1 - \text{level})

    Entries that are kept stay as they are. Dropout would divide them by ``1 - level``; the dA does
    not, since its target is the clean input.

    Args:
        key: A JAX random key.
        x: The clean input, any shape and range.
        level: The probability that an entry is set to zero, in [0, 1].

    Returns:
        The corrupted input, of `x`'s shape and dtype.

    Raises:
        InputError: A plain number out of its range; a traced level is not checked.

    >>> mask(jax.random.key(0), jnp.ones(5), 1.0)
    Array([0., 0., 0., 0., 0.], dtype=float32)
    """
    _check_level(level)
    kept = jax.random.bernoulli(key, 1 - jnp.asarray(level), x.shape)
    return jnp.where(kept, x, jnp.zeros_like(x))


def mask_count(
    key: Key[Array, ""], x: Float[AnyArray, "... d"], level: float | Float[AnyArray, ""]
) -> Float[Array, "... d"]:
    r"""Masking noise of a fixed number: of each example, exactly :math:`\nu d` entries become zero.

    Which ones is uniformly random, and the number is rounded to a whole one (Vincent et al., ICML
    2008, section 2.3). `mask`, the tutorial's, masks :math:`\nu d` on average.

    Args:
        key: A JAX random key.
        x: The clean input, whose last axis has the entries of an example.
        level: The share :math:`\nu` of the entries that are set to zero, in [0, 1].

    Returns:
        The corrupted input, of `x`'s shape and dtype.

    Raises:
        InputError: As `mask` does.

    >>> mask_count(jax.random.key(0), jnp.ones((3, 8)), 0.25).sum(axis=1).tolist()
    [6.0, 6.0, 6.0]
    """
    _check_level(level)
    x, d = jnp.asarray(x), x.shape[-1]
    bits, index = d.bit_length(), jnp.arange(d, dtype=jnp.uint32)
    # Random numbers that differ from each other, since their last bits are those of the index.
    drawn = (jax.random.bits(key, x.shape, jnp.uint32) >> bits << bits) | index
    count = jnp.rint(jnp.asarray(level) * d).astype(int)
    first_kept = jnp.sort(drawn, axis=-1)[..., jnp.minimum(count, d - 1), None]
    return jnp.where((drawn >= first_kept) & (count < d), x, jnp.zeros_like(x))


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
    """Salt-and-pepper noise: with probability `level` an entry becomes 0 or 1, at even odds.

    Args:
        key: A JAX random key.
        x: The clean input in [0, 1], whose extreme values are 0 and 1.
        level: The probability that an entry is replaced, in [0, 1].

    Returns:
        The corrupted input, of `x`'s shape and dtype.

    Raises:
        InputError: As `mask` does.
    """
    _check_level(level)
    # One uniform draw decides both: pepper below level / 2, salt from there up to level.
    u = jax.random.uniform(key, x.shape, x.dtype)
    level = jnp.asarray(level, x.dtype)
    return jnp.where(u < level / 2, 0, jnp.where(u < level, 1, x))


def swap(
    key: Key[Array, ""], x: Float[AnyArray, "rows columns"], level: float | Float[AnyArray, ""]
) -> Float[Array, "rows columns"]:
    r"""Swap noise: an entry is replaced by that of another row in the same column.

    .. math:: \tilde x_{ij} = m_{ij} x_{ij} + (1 - m_{ij}) x_{i'j}, \qquad
        m_{ij} \sim \mathrm{Bernoulli}(1 - \text{level})

    with another row :math:`i' \ne i` for each entry, all equally likely. Every value is one that
    its column has, which suits tables whose columns differ (M. Jahrer, Porto Seguro's Safe Driver
    Prediction, first place, 2017).

    Args:
        key: A JAX random key.
        x: A minibatch of rows. The entries of a single row stay as they are.
        level: The probability that an entry is replaced, in [0, 1].

    Returns:
        The corrupted rows, of `x`'s shape and dtype.

    Raises:
        InputError: As `mask` does.

    >>> swap(jax.random.key(0), jnp.array([[0.0, 10.0], [1.0, 20.0]]), 1.0).tolist()
    [[1.0, 20.0], [0.0, 10.0]]
    """
    _check_level(level)
    which, where = jax.random.split(key)
    n = len(x)
    further = jax.random.randint(where, x.shape, 1, max(n, 2))
    rows = (jnp.arange(n)[:, None] + further) % n
    kept = jax.random.bernoulli(which, 1 - jnp.asarray(level), x.shape)
    return jnp.where(kept, x, jnp.take_along_axis(jnp.asarray(x), rows, axis=0))


def _check_level(level: object) -> None:
    if isinstance(level, int | float) and not 0 <= level <= 1:
        raise InputError(
            "corruption level", expected="a probability in [0, 1]", got=level, do="30 % is 0.3"
        )


Noise = Callable[..., Array]
"""A corruption process: ``noise(key, x, level)`` gives a corrupted copy of x."""
NOISES: dict[str, Noise] = {
    "masking": mask,
    "masking-count": mask_count,
    "gaussian": gaussian,
    "salt-and-pepper": salt_and_pepper,
    "swap": swap,
}
"""The corruption processes, by the names that ``--noise`` takes."""


def corrupt(
    key: Key[Array, ""],
    x: Float[AnyArray, "..."],
    level: float | Float[AnyArray, ""] | None,
    noise: str | Noise = "masking",
) -> Float[AnyArray, "..."]:
    """Corrupt an input by the noise of that name; a level of None leaves it as it is.

    Args:
        key: A JAX random key.
        x: The clean input.
        level: Corruption level or, for Gaussian noise, standard deviation.
        noise: A name in `NOISES`, or a function of your own, ``noise(key, x, level)``.

    Raises:
        InputError: An unknown name.
    """
    if level is None:
        return x
    if not callable(noise):
        if noise not in NOISES:
            expected = f"{', '.join(NOISES)}, or a function noise(key, x, level)"
            raise InputError("noise", expected=expected, got=noise)
        noise = NOISES[noise]
    return noise(key, x, level)


def changed(
    key: Key[Array, ""],
    x: Float[AnyArray, "rows columns"],
    level: float | Float[AnyArray, ""] | None,
    noise: str | Noise = "masking",
) -> Bool[Array, "rows columns"]:
    r"""The entries :math:`J(\tilde x)` that `corrupt` replaces, with the same key.

    An entry that is replaced by its own value, such as a 0 that is masked, is one of them. Which
    ones are replaced must not depend on their values, as it does not in `NOISES`.

    Args:
        key: See `corrupt`, as for the following arguments.
        x: A minibatch of rows.

    >>> changed(jax.random.key(0), jnp.zeros((1, 4)), 1.0).tolist()
    [[True, True, True, True]]
    """
    # Values that differ between rows, and from the 0 and 1 of salt and pepper, show replacements.
    probe = jnp.broadcast_to(2 + jnp.arange(len(x), dtype=x.dtype)[:, None], x.shape)
    return corrupt(key, probe, level, noise) != probe


def drop(
    key: Key[Array, ""], y: Float[AnyArray, "..."], level: float | Float[AnyArray, ""]
) -> Float[Array, "..."]:
    r"""Dropout: :math:`y_i m_i / (1 - q)`, with :math:`m_i \sim \mathrm{Bernoulli}(1 - q)`.

    A mask whose kept entries are scaled so that the mean stays the same (Srivastava et al., JMLR
    2014); nothing has to be rescaled at prediction.

    Args:
        key: A JAX random key.
        y: Inputs or hidden units, any shape.
        level: The probability q that an entry is dropped, in [0, 1).
    """
    return mask(key, y, level) / (1 - level)


def shift(
    key: Key[Array, ""],
    images: Real[AnyArray, "images pixels"],
    image_shape: Sequence[int],
    furthest: int | Int[Array, ""],
) -> Real[Array, "images pixels"]:
    r"""Shift each image by its own random number of whole pixels, vertically and horizontally.

    .. math:: x'_{i,j} = x_{i + u,\,j + v}, \qquad u, v \sim \mathrm{U}\{-d, \dots, d\}

    Outside of the image, the nearest pixel of its edge is repeated. This uses that pixels have
    neighbours, which a dense network does not know: results with and without it are not comparable.

    Args:
        key: A JAX random key.
        images: Flattened images; their dtype is kept.
        image_shape: (height, width) or (height, width, colours).
        furthest: The largest distance d, in pixels, at least 0; may be traced.

    >>> row = jnp.arange(5)[None]
    >>> {int(shift(jax.random.key(i), row, (1, 5), 1)[0, 2]) for i in range(20)}
    {1, 2, 3}
    """
    n, (height, width) = len(images), image_shape[:2]
    u, v = jax.random.randint(key, (2, n, 1), -furthest, furthest + 1)
    rows = jnp.clip(jnp.arange(height) + u, 0, height - 1)
    columns = jnp.clip(jnp.arange(width) + v, 0, width - 1)
    pictures = jnp.asarray(images).reshape((n, height, width, -1))
    which = jnp.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]
    return pictures[which].reshape(n, -1)


def shifted(
    cost: Callable[..., Any], image_shape: Sequence[int], furthest: int
) -> Callable[..., Array]:
    """A supervised cost whose images are shifted first; see `shift`.

    Args:
        cost: ``cost(params, (images, labels), key, **numbers) -> scalar``.
        image_shape: See `shift`, as for `furthest`.
    """

    def shifted_cost(params: Any, batch: Any, key: Key[Array, ""], **numbers: Any) -> Array:
        moving, rest = jax.random.split(key)
        images, labels = batch
        return cost(params, (shift(moving, images, image_shape, furthest), labels), rest, **numbers)

    return shifted_cost
