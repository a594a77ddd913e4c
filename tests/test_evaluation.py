"""The numbers beside the figures, at cases whose answer is known."""

import numpy as np
import pytest

from dae_jax import evaluation as measures


def test_a_spot_is_local_noise_is_not_and_a_constant_filter_scores_nothing():
    rng = np.random.default_rng(0)
    spot = np.full((28, 28), 0.4)
    spot[3:7, 20:25] = -2
    noise = rng.normal(size=(28, 28))
    filters = np.stack([spot, noise, np.full((28, 28), 0.4)]).reshape(3, 784).T
    local = measures.locality(filters, (28, 28))
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
        got = measures.locality(filters.reshape(784, 1), (28, 28))[0]
        np.testing.assert_allclose(got, brute / (filters**2).sum())


def test_locality_sums_colours_and_takes_small_images():
    W = np.zeros((2, 2, 3, 1))
    W[0, 0] = 1
    assert measures.locality(W.reshape(12, 1), (2, 2, 3))[0] > 0.5


def test_dead_units_are_those_that_do_not_vary():
    rng = np.random.default_rng(0)
    codes = np.stack([rng.uniform(size=100), np.full(100, 0.97), 1e-3 * rng.uniform(size=100)], 1)
    np.testing.assert_array_equal(measures.dead(codes), [False, True, True])


@pytest.mark.parametrize(("n", "t"), [(2, 12.706), (3, 4.303), (5, 2.776), (10, 2.262)])
def test_intervals_are_those_of_the_printed_t_table(n, t):
    values = np.random.default_rng(n).normal(3, 2, n)
    mean, half = measures.mean_interval(values)
    np.testing.assert_allclose(mean, values.sum() / n)
    s = np.sqrt(((values - mean) ** 2).sum() / (n - 1))
    # the table has three decimals
    np.testing.assert_allclose(half, t * s / np.sqrt(n), rtol=2e-4)


def test_intervals_hold_the_true_mean_as_often_as_they_say():
    rng = np.random.default_rng(0)
    for confidence in (0.5, 0.95):
        held = []
        for values in rng.normal(1, 3, (1000, 4)):
            mean, half = measures.mean_interval(values, confidence)
            held.append(abs(mean - 1) < half)
        # 5 standard deviations of a binomial share
        assert abs(np.mean(held) - confidence) < 5 * np.sqrt(confidence * (1 - confidence) / 1000)


def test_one_run_tells_nothing_and_equal_runs_leave_no_doubt():
    assert measures.mean_interval([0.25]) == (0.25, np.inf)
    assert measures.mean_interval([0.25, 0.25, 0.25]) == (0.25, 0)
