"""The ladder network against a float64 NumPy oracle, and its parts against what they mean."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from dae_jax import ladder, stacked
from dae_jax.ladder import Statistics
from helpers import drawn, key, refused, sigmoid

RNG = np.random.default_rng(0)
WIDTHS = (6, 5, 4, 3)
WEIGHTS = (10.0, 1.0, 0.5, 0.2)
PARAMS = drawn(partial(ladder.init, jax.random.key(0), WIDTHS))
UNLABELLED = RNG.uniform(size=(8, 6)).astype(np.float32)
LABELLED = RNG.uniform(size=(7, 6)).astype(np.float32)
LABELS = np.array([0, 2, 1, 1, 0, 2, 2], np.int32)
BATCH = UNLABELLED, (LABELLED, LABELS)
SILENCE = jnp.zeros(4)


@partial(jax.jit, static_argnames="weights")
def cost(params, batch, draw, noise, weights):
    return ladder.cost(
        params, batch, draw, weights=weights, noise=noise, pixel_scale=jnp.float32(255)
    )


def by_hand(z):
    """Normalise a minibatch in float64."""
    return (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-10)


def estimate(a, z, u):
    """Equations (5) and (6) in float64."""
    mu = a[0] * sigmoid(a[1] * u + a[2]) + a[3] * u + a[4]
    gain = a[5] * sigmoid(a[6] * u + a[7]) + a[8] * u + a[9]
    return (z - mu) * gain + mu


def oracle(params, batch, weights):
    """The supervised cost, and the denoising cost of each layer, without noise, in float64."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    unlabelled, (images, labels) = batch

    def encode(x):
        h, z, of = np.asarray(x, np.float64), [np.asarray(x, np.float64)], [(0.0, 1.0)]
        for W, beta in zip(params.W, params.beta, strict=True):
            before = h @ W
            z.append(by_hand(before))
            of.append((before.mean(0), before.var(0)))
            h = np.maximum(z[-1] + beta, 0)
        logits = params.gamma * (z[-1] + params.beta[-1])
        return z, of, logits - np.log(np.exp(logits).sum(1, keepdims=True))

    supervised = -encode(images)[2][np.arange(len(labels)), labels].mean()
    z, of, log_p = encode(unlabelled)
    u, denoising = by_hand(np.exp(log_p)), []
    for level in reversed(range(len(weights))):
        u = u if level == len(weights) - 1 else by_hand(z_hat @ params.V[level])
        z_hat = estimate(params.a[level], z[level], u)
        mean, variance = of[level]
        difference = z[level] - (z_hat - mean) / np.sqrt(variance + 1e-10)
        denoising.insert(0, (difference**2).sum(1).mean() / difference.shape[1])
    return supervised, denoising


def test_the_combinator_is_equations_5_and_6():
    a, z, u = (RNG.normal(size=shape) for shape in ((10, 4), (9, 4), (9, 4)))
    got = jax.jit(ladder.combine)(*(jnp.asarray(v, jnp.float32) for v in (a, z, u)))
    np.testing.assert_allclose(got, estimate(a, z, u), rtol=1e-4, atol=1e-5)  # float32


def test_with_the_right_mean_and_gain_it_is_the_best_linear_estimate():
    # z ~ N(2, 1) and noise of variance 1: the posterior mean is half way to the prior's.
    a = jnp.zeros((10, 1)).at[4].set(2.0).at[9].set(0.5)
    got = ladder.combine(a, jnp.array([[4.0]]), jnp.zeros((1, 1)))
    assert float(got[0, 0]) == 3.0


def test_the_cost_of_a_layer_is_a_mean_over_units_and_images():
    z, z_hat = RNG.normal(size=(2, 9, 4)).astype(np.float32)
    mean, variance = RNG.normal(size=4).astype(np.float32), np.full(4, 4.0, np.float32)
    expected = np.mean((z - (z_hat - mean) / 2.0) ** 2)
    got = ladder.denoising_cost(jnp.asarray(z), jnp.asarray(z_hat), Statistics(mean, variance))
    assert float(got) == pytest.approx(expected, rel=1e-5)


def test_the_cost_is_that_of_numpy():
    supervised, denoising = oracle(PARAMS, BATCH, WEIGHTS)
    expected = supervised + np.dot(WEIGHTS, denoising)
    assert float(cost(PARAMS, BATCH, key(), SILENCE, WEIGHTS)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("level", range(4))
def test_bottom_and_gamma_are_the_full_model_with_weights_of_zero(level):
    weights = tuple(2.0 if k == level else 0.0 for k in range(4))
    supervised, denoising = oracle(PARAMS, BATCH, WEIGHTS)
    expected = supervised + 2 * denoising[level]
    assert float(cost(PARAMS, BATCH, key(), SILENCE, weights)) == pytest.approx(expected, rel=1e-4)


def test_gamma_needs_no_decoder_but_the_topmost_combinator():
    gradient = jax.grad(cost)(PARAMS, BATCH, key(), jnp.full(4, 0.3), (0.0, 0.0, 0.0, 1.0))
    assert not any(leaf.any() for leaf in (*gradient.V, *gradient.a[:-1]))
    assert gradient.a[-1].any() and all(W.any() for W in gradient.W)


def test_without_denoising_costs_it_is_the_supervised_baseline():
    supervised, _ = oracle(PARAMS, BATCH, WEIGHTS)
    got = cost(PARAMS, BATCH, key(), SILENCE, (0.0,) * 4)
    assert float(got) == pytest.approx(supervised, rel=1e-4)


@pytest.mark.slow
def test_the_gradient_is_that_of_finite_differences():
    with jax.enable_x64(True):
        params, batch = jax.tree.map(
            lambda a: np.asarray(a, np.float64 if a.dtype == np.float32 else a.dtype),
            (PARAMS, BATCH),
        )
        draw, noise = key(), jnp.full(4, 0.3)
        with jax.debug_key_reuse(False):  # finite differences need the same noise each time
            check_grads(
                lambda p: ladder.cost(
                    p, batch, draw, weights=WEIGHTS, noise=noise, pixel_scale=jnp.float64(1)
                ),
                (params,),
                order=1,
                modes=["rev"],
            )


def test_each_layer_has_noise_of_its_own_deviation():
    a = jnp.zeros((10, 4000)).at[9].set(1.0)  # the estimate is z_tilde
    params = drawn(partial(ladder.init, jax.random.key(0), (4000, 3)))
    params = params._replace(a=(a, params.a[1]))
    batch = np.zeros((20, 4000), np.float32), (np.zeros((3, 4000), np.float32), LABELS[:3])
    noise = jnp.array([0.3, 0.0])
    with_denoising, without = (
        cost(params, batch, key(), noise, w) for w in ((1.0, 0.0), (0.0,) * 2)
    )
    # 80,000 squares of deviation .3: 5 sigma are 5 sqrt(2 / 80,000) of the mean
    assert float(with_denoising - without) == pytest.approx(0.09, rel=0.025)


def test_images_with_and_without_labels_are_normalised_apart():
    brighter = BATCH[0], (3 * LABELLED + 1, LABELS)
    weights = (0.0, 0.0, 0.0, 1.0)
    costs = [float(cost(PARAMS, b, key(), SILENCE, weights)) for b in (BATCH, brighter)]
    # a factor and an offset of all labelled images change nothing, of some of them they would
    assert costs[0] == pytest.approx(costs[1], rel=1e-4)
    mixed = np.concatenate([3 * LABELLED[:3] + 1, LABELLED[3:]])
    assert float(cost(PARAMS, (BATCH[0], (mixed, LABELS)), key(), SILENCE, weights)) != costs[0]


def test_the_classifier_is_the_clean_encoder_with_fixed_statistics():
    of = ladder.statistics(PARAMS, LABELLED)
    model = ladder.classifier(PARAMS, of)
    logits = stacked.logits(model, LABELLED, jax.nn.relu)
    log_p = jax.nn.log_softmax(logits)
    supervised, _ = oracle(PARAMS, BATCH, WEIGHTS)
    assert -log_p[np.arange(7), LABELS].mean() == pytest.approx(supervised, rel=1e-4)


def test_a_prediction_does_not_depend_on_the_images_beside_it():
    model = ladder.classifier(PARAMS, ladder.statistics(PARAMS, UNLABELLED))
    together = stacked.logits(model, UNLABELLED, jax.nn.relu)
    alone = [stacked.logits(model, image[None], jax.nn.relu)[0] for image in UNLABELLED]
    np.testing.assert_allclose(together, np.stack(alone), rtol=1e-5, atol=1e-5)


def test_initial_weights_have_the_variance_of_one_over_their_inputs():
    params = jax.jit(partial(ladder.init, widths=(400, 300, 10)))(key())
    assert [W.shape for W in params.W] == [(400, 300), (300, 10)]
    assert [V.shape for V in params.V] == [(300, 400), (10, 300)]
    for matrix in (*params.W, *params.V):
        expected = len(matrix) ** -0.5
        assert float(matrix.std()) == pytest.approx(expected, rel=5 / np.sqrt(2 * matrix.size))
    # an estimate of 0 to begin with: mean and gain are 0
    ones = jnp.ones((2, 300))
    assert not ladder.combine(params.a[1], ones, ones).any()


@pytest.mark.parametrize("widths", [(4,), (4, 0, 2)])
def test_impossible_widths_are_refused(widths):
    refused(lambda: ladder.init(jax.random.key(0), widths), "widths", "at least 1")
