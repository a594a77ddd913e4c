"""Reconstruction costs and penalties, against NumPy in float64 and at saturated units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dae_jax import objectives
from helpers import sigmoid

RNG = np.random.default_rng(0)
A, X = RNG.normal(size=(2, 7, 12)).astype(np.float32)
X = np.abs(X).clip(0, 1)


def test_costs_are_summed_over_pixels_and_averaged_over_images():
    a = jnp.zeros((3, 784))
    np.testing.assert_allclose(objectives.cross_entropy(a, a), 784 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(objectives.squared_error(a, a + 2), 784 * 4, rtol=1e-6)


def test_costs_equal_their_formulas():
    a, x = A.astype(float), X.astype(float)
    z = sigmoid(a)
    cross_entropy = -(x * np.log(z) + (1 - x) * np.log(1 - z)).sum(axis=1).mean()
    squared_error = ((x - z) ** 2).sum(axis=1).mean()
    linear = ((x - a) ** 2).sum(axis=1).mean()
    # float32 sums of a dozen terms
    for value, expected in (
        (objectives.reconstruction(A, X), cross_entropy),
        (objectives.reconstruction(A, X, "squared-error"), squared_error),
        (objectives.reconstruction(A, X, "squared-error", lambda a: a), linear),
        (objectives.l1(A), np.abs(a).sum(axis=1).mean()),
    ):
        np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize("extreme", [1e2, 1e4, 1e9])
def test_cross_entropy_is_finite_if_the_sigmoid_saturates(extreme):
    logits = jnp.array([[extreme, -extreme, extreme, -extreme]])
    x = jnp.array([[1.0, 0.0, 0.0, 1.0]])
    value, grad = jax.jit(jax.value_and_grad(objectives.cross_entropy))(logits, x)
    np.testing.assert_allclose(value, 2 * extreme, rtol=1e-6)
    np.testing.assert_allclose(grad, [[0, 0, 1, -1]], atol=1e-6)
    hessian = jax.jit(jax.hessian(objectives.cross_entropy))(logits, x)
    assert np.isfinite(hessian).all()


def test_kl_sparsity_is_zero_at_its_target_and_finite_for_dead_units():
    rho = 0.05
    assert float(objectives.kl_sparsity(jnp.full((9, 4), rho), rho)) == pytest.approx(0, abs=1e-6)
    h = np.random.default_rng(0).uniform(0.1, 0.9, (50, 4))
    m = h.mean(0)
    wanted = (rho * np.log(rho / m) + (1 - rho) * np.log((1 - rho) / (1 - m))).sum()
    np.testing.assert_allclose(objectives.kl_sparsity(jnp.asarray(h), rho), wanted, rtol=1e-5)
    graded = jax.jit(jax.value_and_grad(objectives.kl_sparsity))
    value, gradient = graded(jnp.zeros((5, 2)), rho)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_weight_decay_has_the_gradient_lambda_w_and_leaves_biases_alone():
    params = {"W": jnp.asarray(A), "b": jnp.ones(12), "W_prime": jnp.asarray(X)}
    decay = jnp.float32(0.3)
    value, gradient = jax.jit(jax.value_and_grad(objectives.weight_decay))(params, decay)
    np.testing.assert_allclose(value, 0.15 * ((A**2).sum() + (X**2).sum()), rtol=1e-5)
    np.testing.assert_allclose(objectives.squared_weights(params), value / 0.15, rtol=1e-5)
    np.testing.assert_allclose(gradient["W"], 0.3 * A, rtol=1e-6)
    assert not gradient["b"].any()


def test_contraction_is_the_norm_of_a_sigmoid_layers_jacobian():
    W, b, x = RNG.normal(size=(12, 5)), RNG.normal(size=5), X.astype(float)
    h = sigmoid(x @ W + b)
    slopes = h * (1 - h)
    jacobians = slopes[:, None, :] * W  # (images, inputs, units)
    expected = (jacobians**2).sum(axis=(1, 2)).mean()
    value = objectives.contraction(jnp.asarray(slopes, jnp.float32), jnp.asarray(W, jnp.float32))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
