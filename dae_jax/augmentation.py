r"""Augmentation: every time an image is looked at, a slightly different one of the same class.

A dA's corruption changes an image that has to come out clean; augmentation changes one whose label
has to stay right. It uses that pixels have neighbours, which a dense network is never told: results
with and without it are not results of the same kind.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, Real

from dae_jax.objectives import AnyArray


def shift(
    key: Key[Array, ""],
    images: Real[AnyArray, "images pixels"],
    image_shape: Sequence[int],
    furthest: int,
) -> Real[Array, "images pixels"]:
    r"""Move each image by a number of whole pixels of its own, up or down and to the left or right.

    .. math:: x'_{i,j} = x_{i + u,\,j + v}, \qquad u, v \sim \mathrm{U}\{-d, \dots, d\}

    Where that is outside of the image, it is the pixel of the edge that is nearest.

    Args:
        key: A JAX random key.
        images: Flattened images, of any dtype, which is kept.
        image_shape: (height, width) or (height, width, colours).
        furthest: The distance d, in pixels, at least 0.

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
    cost: Callable[..., Array], image_shape: Sequence[int], furthest: int
) -> Callable[..., Array]:
    """A cost like `cost` whose images are shifted before it sees them; see `shift`.

    Args:
        cost: Takes parameters, (images, labels) and a key, and whatever it takes by name.
        image_shape: See `shift`, as for `furthest`.
    """

    def shifted_cost(params: Any, batch: Any, key: Key[Array, ""], **numbers: Any) -> Array:
        moving, rest = jax.random.split(key)
        images, labels = batch
        return cost(params, (shift(moving, images, image_shape, furthest), labels), rest, **numbers)

    return shifted_cost
