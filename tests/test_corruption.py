"""Random changes of an input: rates within k sigma, a new draw for every key, traced amounts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dae_jax import corruption
from helpers import key, refused

SHAPE = (500, 784)
X = jnp.full(SHAPE, 0.25)
shift = jax.jit(corruption.shift, static_argnames=("image_shape", "furthest"))


@pytest.mark.parametrize("level", [0.1, 0.3, 0.5, 0.9])
def test_masking_zeroes_its_share_of_the_pixels_and_rescales_none(level):
    out = np.asarray(corruption.mask(key(), X, level))
    assert set(np.unique(out)) == {np.float32(0), np.float32(0.25)}
    sigma = np.sqrt(level * (1 - level) / out.size)
    assert abs((out == 0).mean() - level) < 5 * sigma


@pytest.mark.parametrize("d", [1, 7, 784, 5000])
@pytest.mark.parametrize("level", [0.0, 0.1, 0.25, 1.0])
def test_masking_by_count_zeroes_exactly_its_number_of_entries_of_each_image(d, level):
    out = np.asarray(corruption.mask_count(key(), jnp.full((20, d), 0.25), level))
    assert set(np.unique(out)) <= {np.float32(0), np.float32(0.25)}
    assert set((out == 0).sum(axis=1)) == {np.rint(level * d)}


def test_masking_by_count_masks_every_entry_and_every_pair_as_often():
    masked = np.asarray(corruption.mask_count(key(), jnp.ones((20_000, 8)), 0.25) == 0, float)
    counts = masked.T @ masked  # of 8 entries 2 are masked: 28 pairs, all equally likely
    expected = np.where(np.eye(8), 1 / 4, 1 / 28) * len(masked)
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


@pytest.mark.parametrize("noise", corruption.NOISES)
def test_the_entries_that_a_noise_changes_are_known(noise):
    x = jnp.asarray(np.random.default_rng(0).uniform(0.1, 0.9, (50, 200)), jnp.float32)
    for level in (0.0, 0.3):
        changed = corruption.changed(key(), x, level, noise)
        np.testing.assert_array_equal(changed, corruption.corrupt(key(), x, level, noise) != x)
    blank = jnp.zeros_like(x)  # what is masked has no trace in the values
    np.testing.assert_array_equal(corruption.changed(key(), blank, 0.3, noise), changed)
    assert not corruption.changed(key(), x, None, noise).any()


def test_masking_is_independent_between_pixels_and_between_images():
    masked = np.asarray(corruption.mask(key(), X, 0.3) == 0, float)
    for a, b in ((masked[:, 1:], masked[:, :-1]), (masked[1:], masked[:-1])):
        # the correlation of n independent pairs has standard error 1/sqrt(n)
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)
    # an image keeps Binomial(784, .7) pixels: dependence within an image would change the variance
    assert abs(masked.sum(1).var() / (784 * 0.3 * 0.7) - 1) < 5 * np.sqrt(2 / 500)


def test_level_0_changes_nothing_and_level_1_leaves_nothing():
    np.testing.assert_array_equal(corruption.mask(key(), X, 0.0), X)
    np.testing.assert_array_equal(corruption.gaussian(key(), X, 0.0), X)
    np.testing.assert_array_equal(corruption.salt_and_pepper(key(), X, 0.0), X)
    assert not corruption.mask(key(), X, 1.0).any()
    assert set(np.unique(corruption.salt_and_pepper(key(), X, 1.0))) == {0.0, 1.0}


def test_gaussian_noise_has_mean_0_and_its_standard_deviation():
    noise = np.asarray(corruption.gaussian(key(), X, 0.5) - X)
    assert abs(noise.mean()) < 5 * 0.5 / np.sqrt(noise.size)
    assert abs(noise.std() / 0.5 - 1) < 5 / np.sqrt(2 * noise.size)


def test_salt_and_pepper_are_equally_likely():
    out = np.asarray(corruption.salt_and_pepper(key(), X, 0.4))
    for value, rate in ((0.0, 0.2), (1.0, 0.2), (0.25, 0.6)):
        assert abs((out == np.float32(value)).mean() - rate) < 5 * np.sqrt(
            rate * (1 - rate) / out.size
        )


@pytest.mark.parametrize("noise", corruption.NOISES.values(), ids=corruption.NOISES)
def test_the_key_decides_the_noise(noise):
    x = X + jnp.arange(500, dtype=X.dtype)[:, None] / 1000  # rows that swap noise can tell apart
    first = noise(key(), x, 0.3)
    np.testing.assert_array_equal(first, noise(key(), x, 0.3))
    assert (first != noise(jax.random.fold_in(key(), 1), x, 0.3)).mean() > 0.1


@pytest.mark.parametrize("noise", corruption.NOISES.values(), ids=corruption.NOISES)
def test_the_level_is_traced_and_dtype_and_shape_are_kept(noise):
    traces = []

    @jax.jit
    def corrupt(k, x, level):
        traces.append(1)
        return noise(k, x, level)

    for level in (0.1, 0.2, 0.3):
        out = corrupt(key(), X, level)
    assert len(traces) == 1
    assert (out.shape, out.dtype) == (X.shape, X.dtype)


def test_swap_takes_the_same_column_of_other_rows_which_are_equally_likely():
    n, d = 5, 20_000
    x = jnp.arange(n, dtype=jnp.float32)[:, None] + 10 * jnp.arange(d, dtype=jnp.float32)
    out = np.asarray(corruption.swap(key(), x, 0.4)) - 10 * np.arange(d)
    own = np.arange(n)[:, None]
    assert set(np.unique(out)) == set(range(n))  # no value of another column
    assert abs((out != own).mean() - 0.4) < 5 * np.sqrt(0.4 * 0.6 / out.size)
    for i in range(n):
        for other in set(range(n)) - {i}:
            # 5 standard deviations of a binomial share
            assert abs((out[i] == other).mean() - 0.1) < 5 * np.sqrt(0.1 * 0.9 / d)


def test_swap_leaves_a_single_row_as_it_is():
    x = jnp.ones((1, 9))
    np.testing.assert_array_equal(corruption.swap(key(), x, 1.0), x)


def test_a_noise_of_your_own_can_be_used_and_an_unknown_name_is_refused():
    double = lambda key, x, level: (1 + level) * x  # noqa: E731
    np.testing.assert_array_equal(corruption.corrupt(key(), X, 1.0, double), 2 * X)
    refused(lambda: corruption.corrupt(key(), X, 0.3, "salt"), "noise", "masking", "salt")


@pytest.mark.parametrize("corrupt", [corruption.mask, corruption.salt_and_pepper, corruption.swap])
@pytest.mark.parametrize("level", [30, -0.1, float("nan")])
def test_a_level_that_is_not_a_probability_is_refused(corrupt, level):
    x = jnp.ones((2, 2))
    refused(lambda: corrupt(jax.random.key(0), x, level), "corruption level", "[0, 1]", str(level))


def test_corrupt_chooses_the_noise_by_name_and_none_leaves_the_input():
    assert corruption.corrupt(key(), X, None) is X
    for name, noise in corruption.NOISES.items():
        np.testing.assert_array_equal(corruption.corrupt(key(), X, 0.3, name), noise(key(), X, 0.3))


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9])
def test_dropout_drops_at_its_rate_and_keeps_the_mean(q):
    n = 100_000
    y = np.asarray(corruption.drop(key(1), jnp.full(n, 2.0), jnp.float32(q)))
    # 5 standard deviations of a binomial share
    assert abs((y == 0).mean() - q) < 5 * np.sqrt(q * (1 - q) / n)
    np.testing.assert_allclose(y[y != 0], 2 / (1 - q), rtol=1e-6)
    assert abs(y.mean() - 2) < 5 * 2 * np.sqrt(q / (1 - q) / n)


# ---- shifts ---------------------------------------------------------------------------------


def sources(shape, u, v):
    """The source of each pixel: `u` below and `v` to the right, or the nearest on the edge."""
    height, width, *_ = shape
    rows = [min(max(i + u, 0), height - 1) for i in range(height)]
    columns = [min(max(j + v, 0), width - 1) for j in range(width)]
    return np.arange(np.prod(shape)).reshape(shape)[rows][:, columns].ravel()


@pytest.mark.parametrize("shape", [(5, 7), (7, 5, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_each_image_is_shifted_by_its_own_distance_and_all_are_equally_likely(shape, dtype):
    n, furthest = 1800, 2
    images = np.random.default_rng(0).permuted(
        np.tile(np.arange(np.prod(shape)), (n, 1)).astype(dtype), axis=1
    )
    out = shift(key(), images, shape, furthest)
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


def test_distance_0_shifts_nothing_and_the_key_decides():
    several = np.tile(np.arange(3 * 20, dtype=np.uint8).reshape(3, 20), (20, 1))
    np.testing.assert_array_equal(shift(key(), several, (4, 5), 0), several)
    one = shift(key(), several, (4, 5), 3)
    np.testing.assert_array_equal(shift(key(), several, (4, 5), 3), one)
    assert (shift(key(8), several, (4, 5), 3) != one).any()


@pytest.mark.slow
def test_a_shifted_cost_gets_shifted_images_their_labels_and_another_key():
    images, labels = np.eye(4, dtype=np.float32), np.arange(4)

    def cost(params, batch, key, *, scale):
        received.update(params=params, batch=batch, scale=scale)
        return jax.random.uniform(key)

    received = {}
    drawn = corruption.shifted(cost, (2, 2), 1)("p", (images, labels), key(), scale=3)
    x, y = received.pop("batch")
    moving, rest = jax.random.split(key())
    assert received == {"params": "p", "scale": 3} and np.array_equal(y, labels)
    np.testing.assert_array_equal(x, shift(moving, images, (2, 2), 1))
    assert (x != images).any() and drawn == jax.random.uniform(rest)


def test_the_gradient_of_a_shifted_cost_is_that_of_the_shifted_images():
    W, images = jnp.arange(4.0), np.eye(4, dtype=np.float32)

    def cost(W, batch, key):
        return (batch[0] @ W).sum()

    gradient = jax.jit(jax.grad(corruption.shifted(cost, (2, 2), 1)))(W, (images, None), key())
    moving, _ = jax.random.split(key())
    expected = np.asarray(shift(moving, images, (2, 2), 1)).sum(0)
    np.testing.assert_allclose(gradient, expected)
