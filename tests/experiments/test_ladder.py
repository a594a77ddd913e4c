"""A ladder network as a model of an experiment."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dae_jax import ladder
from dae_jax.experiments.ladder import Ladder
from dae_jax.experiments.models import Recipe
from helpers import key

SMALL = Ladder((20, 15), 50, (10.0, 1.0, 0.1, 0.1), (0.3, 0.2), Recipe(15, 50))


@pytest.fixture(scope="module")
def fitted(setup):
    with jax.numpy_dtype_promotion("standard"):
        return SMALL.train(setup, "ladder")


def test_it_learns_from_few_labels(setup, fitted):
    test = setup.data.test
    for model in fitted:
        assert len(model.costs) == 15 and model.costs[-1] < model.costs[0]
        assert np.mean(model.classify(test.x) != test.labels) < 0.5  # .9 by chance
    assert (fitted[0].params.hidden[0].W != fitted[1].params.hidden[0].W).all()


def test_a_prediction_does_not_depend_on_the_images_beside_it(setup, fitted):
    x = setup.data.test.x[:20]
    alone = [fitted[0].classify(x[i : i + 1])[0] for i in range(20)]
    np.testing.assert_array_equal(fitted[0].classify(x), alone)


def test_all_labels_are_used_if_no_number_is_given(setup):
    (every, _) = replace(SMALL, labels=None, recipe=Recipe(15, 50)).train(setup, "all")
    (few, _) = replace(SMALL, labels=10).train(setup, "few")
    test = setup.data.test
    errors = [np.mean(model.classify(test.x) != test.labels) for model in (every, few)]
    assert errors[0] < errors[1] - 0.1


def test_the_cost_has_the_noise_of_the_pixels_and_another_above():
    params = ladder.init(key(), (6, 5, 4, 3))
    images = np.random.default_rng(0).random((8, 6), np.float32)
    batch = (images, (images, np.arange(8) % 3))
    expected = ladder.cost(
        params,
        batch,
        key(1),
        weights=SMALL.weights,
        noise=jnp.array([0.3, 0.2, 0.2, 0.2]),
        pixel_scale=jnp.float32(1),
    )
    np.testing.assert_allclose(SMALL.cost(1.0)(params, batch, key(1)), expected, rtol=1e-6)
