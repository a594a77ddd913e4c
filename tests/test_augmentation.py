"""Shifts: each image by a distance of its own, every distance as often, under its own label."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dae_jax import corruption as augmentation
from helpers import key


def sources(shape, u, v):
    """Where each pixel comes from: `u` below and `v` to the right, or the nearest on the edge."""
    height, width, *_ = shape
    rows = [min(max(i + u, 0), height - 1) for i in range(height)]
    columns = [min(max(j + v, 0), width - 1) for j in range(width)]
    return np.arange(np.prod(shape)).reshape(shape)[rows][:, columns].ravel()


@pytest.mark.parametrize("shape", [(5, 7), (7, 5, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_each_image_is_moved_by_whole_pixels_of_its_own_and_every_distance_is_as_likely(
    shape, dtype
):
    n, furthest = 1800, 2
    images = np.random.default_rng(0).permuted(
        np.tile(np.arange(np.prod(shape)), (n, 1)).astype(dtype), axis=1
    )
    out = augmentation.shift(key(), images, shape, furthest)
    assert out.dtype == dtype and out.shape == images.shape
    distances = range(-furthest, furthest + 1)
    seen = [
        int((images[:, sources(shape, u, v)] == np.asarray(out)).all(1).sum())
        for u in distances
        for v in distances
    ]
    assert sum(seen) == n
    sigma = np.sqrt(n * (1 / 25) * (24 / 25))
    assert max(abs(count - n / 25) for count in seen) < 5 * sigma


def test_no_distance_moves_nothing_and_the_key_decides():
    images = np.arange(3 * 20, dtype=np.uint8).reshape(3, 20)
    np.testing.assert_array_equal(augmentation.shift(key(), images, (4, 5), 0), images)
    several = np.tile(images, (20, 1))
    one = augmentation.shift(key(), several, (4, 5), 3)
    np.testing.assert_array_equal(augmentation.shift(key(), several, (4, 5), 3), one)
    assert (augmentation.shift(key(8), several, (4, 5), 3) != one).any()


def test_a_shifted_cost_sees_moved_images_with_their_own_labels_and_a_key_of_its_own():
    images, labels = np.eye(4, dtype=np.float32), np.arange(4)

    def cost(params, batch, key, *, scale):
        asked.update(params=params, batch=batch, scale=scale)
        return jax.random.uniform(key)

    asked = {}
    drawn = augmentation.shifted(cost, (2, 2), 1)("p", (images, labels), key(), scale=3)
    x, y = asked.pop("batch")
    moving, rest = jax.random.split(key())
    assert asked == {"params": "p", "scale": 3} and np.array_equal(y, labels)
    np.testing.assert_array_equal(x, augmentation.shift(moving, images, (2, 2), 1))
    assert (x != images).any() and drawn == jax.random.uniform(rest)


def test_its_gradient_is_that_of_the_moved_images():
    W, images = jnp.arange(6.0), np.eye(6, dtype=np.float32)

    def cost(W, batch, key):
        return (batch[0] @ W).sum()

    gradient = jax.jit(jax.grad(augmentation.shifted(cost, (2, 3), 1)))(W, (images, None), key())
    moving, _ = jax.random.split(key())
    expected = augmentation.shift(moving, images, (2, 3), 1).sum(0)
    np.testing.assert_allclose(gradient, expected)
