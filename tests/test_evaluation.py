"""Applying a model to many images, against one product of all; and measures with known answers."""

from functools import partial
from math import comb

import jax.numpy as jnp
import numpy as np
import pytest

from dae_jax import autoencoder, evaluation, stacked

RNG = np.random.default_rng(0)
# Counts of images around one and two chunks, whose last chunk is filled up.
COUNTS = (0, 1, 999, 1000, 1001, 2500)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def model(n_visible=37, n_hidden=5, seed=0):
    return autoencoder.init_tutorial(seed, n_visible, n_hidden, b=np.linspace(-1, 1, n_hidden))


# ---- many images ----------------------------------------------------------------------------


@pytest.mark.parametrize("n", COUNTS)
def test_every_image_gets_its_own_code_in_the_full_and_in_the_last_chunk(n):
    images, params = RNG.integers(0, 256, (n, 37), np.uint8), model()
    codes = evaluation.apply(autoencoder.encode, params, images, 256.0)
    assert codes.shape == (n, 5) and codes.dtype == np.float32
    W, b = np.asarray(params.W, float), np.asarray(params.b, float)
    # float32 sums of 37 terms
    np.testing.assert_allclose(codes, sigmoid(images / 256 @ W + b), rtol=1e-5)


@pytest.mark.parametrize("n", [0, 3, 1002])
def test_outputs_may_have_any_shape(n):
    x = RNG.random((n, 6), np.float32)
    assert evaluation.apply(_as_pictures, (), x).shape == (n, 2, 3)
    np.testing.assert_array_equal(evaluation.apply(_as_pictures, (), x), x.reshape(n, 2, 3))
    np.testing.assert_array_equal(evaluation.apply(_brightest, (), x), x.argmax(axis=1))


def _as_pictures(params, x):
    return x.reshape(-1, 2, 3)


def _brightest(params, x):
    return jnp.argmax(x, axis=1)


@pytest.mark.parametrize(("n_visible", "n_hidden"), [(784, 500), (784, 1), (37, 5), (1, 300)])
def test_the_size_of_a_chunk_makes_no_difference(monkeypatch, n_visible, n_hidden):
    # The codes of a CPU are equal to the bit; elsewhere products may be rounded in another way.
    images, params = RNG.random((300, n_visible), np.float32), model(n_visible, n_hidden)
    whole = evaluation.apply(autoencoder.encode, params, images)
    for chunk in (64, 300, 301):
        monkeypatch.setattr(evaluation, "CHUNK", chunk)
        codes = evaluation.apply(autoencoder.encode, params, images)
        np.testing.assert_allclose(codes, whole, rtol=0, atol=1e-6)


def test_another_number_of_images_recompiles_nothing():
    params, other = model(seed=1), model(seed=2)

    def encode(params, x):  # new, so that nothing is compiled for it yet
        return autoencoder.encode(params, x)

    before = evaluation._chunk._cache_size()
    for n in COUNTS:
        for scale in (255.0, 256.0):
            images = np.zeros((n, 37), np.uint8)
            evaluation.apply(encode, params if n % 2 else other, images, scale)
    assert evaluation._chunk._cache_size() == before + 1


def test_integers_are_scaled_and_floats_are_not():
    x = np.full((3, 2), 100, np.uint8)
    np.testing.assert_allclose(evaluation.apply(_unchanged, (), x, 200.0), 0.5)
    np.testing.assert_allclose(evaluation.apply(_unchanged, (), x), 100 / 255, rtol=1e-6)
    np.testing.assert_array_equal(evaluation.apply(_unchanged, (), np.float32(x), 200.0), 100)


def _unchanged(params, x):
    return x


@pytest.mark.parametrize("n", [1, 1000, 2500])
def test_the_error_rate_is_the_share_of_wrong_classes(n):
    images, labels = RNG.integers(0, 256, (n, 12), np.uint8), RNG.integers(0, 4, n)
    layers = stacked.init_tutorial(3, 12, [7])
    top = stacked.Layer(RNG.normal(size=(7, 4)).astype(np.float32), np.zeros(4, np.float32))
    network = stacked.classifier(layers, 12, 4)._replace(top=top)
    a = sigmoid(images / 256 @ np.asarray(layers[0].W, float)) @ np.asarray(top.W, float)
    error = evaluation.error_rate(stacked.logits, network, images, labels, 256.0)
    assert error == np.mean(a.argmax(axis=1) != labels)
    right = evaluation.apply(stacked.logits, network, images, 256.0).argmax(axis=1)
    assert evaluation.error_rate(stacked.logits, network, images, right, 256.0) == 0
    assert evaluation.error_rate(stacked.logits, network, images, (right + 1) % 4, 256.0) == 1


def test_a_partial_is_compiled_once():
    # an architecture, say, is bound before: the same object is the same program
    half, before = partial(_times, factor=0.5), evaluation._chunk._cache_size()
    for x in np.ones((3, 2, 4), np.float32):
        np.testing.assert_array_equal(evaluation.apply(half, (), x), 0.5)
    assert evaluation._chunk._cache_size() == before + 1


def _times(params, x, factor):
    return factor * x


# ---- measures -------------------------------------------------------------------------------


def test_a_spot_is_local_noise_is_not_and_a_constant_filter_scores_0():
    rng = np.random.default_rng(0)
    spot = np.full((28, 28), 0.4)
    spot[3:7, 20:25] = -2
    noise = rng.normal(size=(28, 28))
    filters = np.stack([spot, noise, np.full((28, 28), 0.4)]).reshape(3, 784).T
    local = evaluation.locality(filters, (28, 28))
    np.testing.assert_allclose(local[0], 1)
    # 81 of 784 pixels hold a tenth of white noise; the best of 400 windows somewhat more
    assert 81 / 784 < local[1] < 0.2
    assert local[2] == 0


def test_locality_finds_the_best_window_wherever_it_is():
    for y in range(26):
        filters = np.zeros((28, 28))
        filters[y : y + 3, 27 - y : 30 - y] = 1
        filters[0, 0] += 0.5
        brute = max(
            (filters[i : i + 9, j : j + 9] ** 2).sum() for i in range(20) for j in range(20)
        )
        got = evaluation.locality(filters.reshape(784, 1), (28, 28))[0]
        np.testing.assert_allclose(got, brute / (filters**2).sum())


def test_locality_sums_over_colours_and_takes_small_images():
    W = np.zeros((2, 2, 3, 1))
    W[0, 0] = 1
    assert evaluation.locality(W.reshape(12, 1), (2, 2, 3))[0] > 0.5


def test_dead_units_are_those_that_do_not_vary():
    rng = np.random.default_rng(0)
    codes = np.stack([rng.uniform(size=100), np.full(100, 0.97), 1e-3 * rng.uniform(size=100)], 1)
    np.testing.assert_array_equal(evaluation.dead(codes), [False, True, True])


@pytest.mark.parametrize(("n", "t"), [(2, 12.706), (3, 4.303), (5, 2.776), (10, 2.262)])
def test_intervals_are_those_of_the_printed_t_table(n, t):
    values = np.random.default_rng(n).normal(3, 2, n)
    mean, half = evaluation.mean_interval(values)
    np.testing.assert_allclose(mean, values.sum() / n)
    s = np.sqrt(((values - mean) ** 2).sum() / (n - 1))
    # the table has three decimals
    np.testing.assert_allclose(half, t * s / np.sqrt(n), rtol=2e-4)


def test_intervals_contain_the_true_mean_as_often_as_they_say():
    rng = np.random.default_rng(0)
    for confidence in (0.5, 0.95):
        held = []
        for values in rng.normal(1, 3, (1000, 4)):
            mean, half = evaluation.mean_interval(values, confidence)
            held.append(abs(mean - 1) < half)
        # 5 standard deviations of a binomial share
        assert abs(np.mean(held) - confidence) < 5 * np.sqrt(confidence * (1 - confidence) / 1000)


def test_the_interval_of_one_run_is_infinite_and_of_equal_runs_0():
    assert evaluation.mean_interval([0.25]) == (0.25, np.inf)
    assert evaluation.mean_interval([0.25, 0.25, 0.25]) == (0.25, 0)


def test_mcnemar_is_the_binomial_test_of_the_images_that_only_one_classifies_correctly():
    truth = RNG.integers(0, 3, 200)
    one, other = (np.where(RNG.random(200) < share, truth, 3) for share in (0.9, 0.7))
    b, c, p = evaluation.mcnemar(truth, one, other)
    assert b == sum((one == truth) & (other != truth)) and c == sum(
        (one != truth) & (other == truth)
    )
    tail = sum(comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert p == pytest.approx(2 * tail)
    assert evaluation.mcnemar(truth, one, one) == (0, 0, 1.0)
