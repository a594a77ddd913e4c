"""Columns of mean 0 and variance 1, and back."""

import numpy as np
import pytest

from dae_jax.datasets.scaling import standardisation
from helpers import refused

X = np.random.default_rng(0).normal([5, -1e6, 0], [1, 1e-2, 1e3], (500, 3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_have_mean_0_and_variance_1_and_come_back(dtype):
    x = X[:, [0, 2]].astype(dtype)
    scaling = standardisation(x, "x")
    scaled = scaling.apply(x)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-4)
    np.testing.assert_allclose(scaling.undo(scaled), x, rtol=1e-3, atol=1e-3)


def test_small_differences_of_large_numbers_are_not_lost():
    scaled = standardisation(X, "x").apply(X)
    np.testing.assert_allclose(scaled.std(axis=0), 1, rtol=1e-3)


def test_missing_values_are_left_out_and_stay_missing():
    x = X.copy()
    x[::2, 0] = np.nan
    scaling = standardisation(x, "x")
    assert scaling.mean[0] == pytest.approx(X[1::2, 0].mean())
    assert np.isnan(scaling.apply(x)[::2, 0]).all()


def test_integers_are_numbers_too():
    x = np.random.default_rng(0).integers(0, 256, (300, 2), np.uint8)
    scaling = standardisation(x, "x")
    np.testing.assert_allclose(scaling.mean, x.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(scaling.apply(x).std(axis=0), 1, rtol=1e-4)


def test_a_constant_column_becomes_0():
    x = np.full((9, 2), 0.1, np.float32)
    np.testing.assert_allclose(standardisation(x, "x").apply(x), 0, atol=1e-6)


def test_a_column_without_a_value_is_refused():
    x = np.array([[1, np.nan], [2, np.nan]])
    refused(lambda: standardisation(x, "prices"), "column 1 of prices", "leave it out")
    refused(lambda: standardisation(x, "prices", ["a", "b"]), "column b of prices")
