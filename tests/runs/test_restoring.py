"""Errors of restored rows beside those of PCA and of the column means."""

import numpy as np
import pytest

from dae_jax.runs.restoring import Baselines
from dae_jax.settings.shared import Denoising
from helpers import key

RNG = np.random.default_rng(0)
# rows of three directions in ten dimensions
ROWS = (RNG.normal(size=(900, 3)) @ RNG.normal(size=(3, 10)) + 1).astype(np.float32)
TRAIN, NEW = ROWS[:600], ROWS[600:]
GAUSSIAN = Denoising(0.5, "gaussian", "squared-error", "linear")


def test_pca_restores_rows_of_few_directions_and_the_means_none():
    errors = Baselines(TRAIN, 10).compared(NEW, GAUSSIAN, lambda x: x, key(1))
    assert errors.da == pytest.approx(0.5, rel=0.05)  # nothing was restored
    assert errors.components in (2, 4)
    assert errors.pca < 0.8 * errors.da
    assert errors.mean == pytest.approx(np.sqrt(np.mean((NEW - TRAIN.mean(axis=0)) ** 2)), rel=1e-5)


def test_there_are_no_more_components_than_hidden_units():
    assert Baselines(TRAIN, 1).compared(NEW, GAUSSIAN, lambda x: x, key(1)).components == 1


def test_missing_values_are_0_at_the_input_and_left_out_of_the_errors():
    gaps = RNG.random(NEW.shape) < 0.3
    new = np.where(gaps, np.nan, NEW)
    seen = []
    none = Denoising(0.0, "masking", "squared-error", "linear")
    errors = Baselines(TRAIN, 3).compared(new, none, lambda x: seen.append(x) or x, key(1))
    assert errors.da == 0  # of the values that are there
    np.testing.assert_array_equal(seen[0], np.where(gaps, 0, NEW))


def test_a_single_row_and_a_column_without_values_are_no_warning():
    # warnings are errors in the tests
    for train in (TRAIN[:1], np.where(np.arange(10) == 3, np.nan, TRAIN)):
        errors = Baselines(train, 3).compared(NEW, GAUSSIAN, lambda x: x, key(1))
        assert np.isfinite(errors.pca) and np.isfinite(errors.mean)
