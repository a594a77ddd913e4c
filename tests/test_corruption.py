"""The corruption processes: rates within k sigma, fresh noise for every key, nothing rescaled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dae_jax import corruption
from helpers import key, refused

SHAPE = (500, 784)
X = jnp.full(SHAPE, 0.25)


@pytest.mark.parametrize("level", [0.1, 0.3, 0.5, 0.9])
def test_masking_loses_the_asked_share_and_rescales_nothing(level):
    out = np.asarray(corruption.mask(key(), X, level))
    assert set(np.unique(out)) == {np.float32(0), np.float32(0.25)}
    sigma = np.sqrt(level * (1 - level) / out.size)
    assert abs((out == 0).mean() - level) < 5 * sigma


def test_masking_is_independent_from_pixel_to_pixel_and_image_to_image():
    lost = np.asarray(corruption.mask(key(), X, 0.3) == 0, float)
    for a, b in ((lost[:, 1:], lost[:, :-1]), (lost[1:], lost[:-1])):
        # the correlation of n independent pairs has standard error 1/sqrt(n)
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)
    # an image keeps Binomial(784, .7) pixels: the variance tells dependence within an image
    assert abs(lost.sum(1).var() / (784 * 0.3 * 0.7) - 1) < 5 * np.sqrt(2 / 500)


def test_no_level_changes_nothing_and_full_level_leaves_nothing():
    np.testing.assert_array_equal(corruption.mask(key(), X, 0.0), X)
    np.testing.assert_array_equal(corruption.gaussian(key(), X, 0.0), X)
    np.testing.assert_array_equal(corruption.salt_and_pepper(key(), X, 0.0), X)
    assert not corruption.mask(key(), X, 1.0).any()
    assert set(np.unique(corruption.salt_and_pepper(key(), X, 1.0))) == {0.0, 1.0}


def test_gaussian_noise_has_the_asked_mean_and_standard_deviation():
    noise = np.asarray(corruption.gaussian(key(), X, 0.5) - X)
    assert abs(noise.mean()) < 5 * 0.5 / np.sqrt(noise.size)
    assert abs(noise.std() / 0.5 - 1) < 5 / np.sqrt(2 * noise.size)


def test_salt_and_pepper_are_even():
    out = np.asarray(corruption.salt_and_pepper(key(), X, 0.4))
    for value, rate in ((0.0, 0.2), (1.0, 0.2), (0.25, 0.6)):
        assert abs((out == np.float32(value)).mean() - rate) < 5 * np.sqrt(
            rate * (1 - rate) / out.size
        )


@pytest.mark.parametrize("noise", corruption.NOISES.values(), ids=corruption.NOISES)
def test_another_key_is_other_noise_and_the_same_key_the_same(noise):
    first = noise(key(), X, 0.3)
    np.testing.assert_array_equal(first, noise(key(), X, 0.3))
    assert (first != noise(jax.random.fold_in(key(), 1), X, 0.3)).mean() > 0.1


@pytest.mark.parametrize("noise", corruption.NOISES.values(), ids=corruption.NOISES)
def test_the_level_is_traced_and_dtype_and_shape_stay(noise):
    traces = []

    @jax.jit
    def corrupt(k, x, level):
        traces.append(1)
        return noise(k, x, level)

    for level in (0.1, 0.2, 0.3):
        out = corrupt(key(), X, level)
    assert len(traces) == 1
    assert (out.shape, out.dtype) == (X.shape, X.dtype)


@pytest.mark.parametrize("corrupt", [corruption.mask, corruption.salt_and_pepper])
@pytest.mark.parametrize("level", [30, -0.1, float("nan")])
def test_a_level_that_is_no_probability_is_refused(corrupt, level):
    x = jnp.ones(4)
    refused(lambda: corrupt(jax.random.key(0), x, level), "corruption level", "[0, 1]", str(level))
