"""Deep autoencoders against plain loops, autodiff and hand-made cases."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from dae_jax import autoencoder, corruption, deep, objectives, stacked
from dae_jax.deep import Architecture
from helpers import SLOW, drawn, refused

X = jnp.asarray(np.random.default_rng(0).random((7, 12)), jnp.float32)
ONE = jnp.float32(1)
encode, reconstruct, contraction = (
    jax.jit(function, static_argnames="architecture")
    for function in (deep.encode, deep.reconstruct, deep.contraction)
)
compiled_cost = jax.jit(deep.cost, static_argnames=("architecture", "noise"))


def parameters(architecture):
    """Parameters with biases other than zero, small enough not to saturate the units."""
    return jax.tree.map(lambda a: a / 2, drawn(lambda: deep.init(jax.random.key(0), architecture)))


def cost(params, architecture, seed=0, **terms):
    key = jax.random.key(seed)
    return compiled_cost(params, X, key, architecture=architecture, pixel_scale=ONE, **terms)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_initial_weights_are_uniform_in_their_range_and_biases_zero(tied):
    params = deep.init(jax.random.key(0), Architecture((120, 80, 60), tied=tied), gain=2.0)
    layers = [*params.encoder, *([] if tied else params.decoder)]
    shapes = [(120, 80), (80, 60)] if tied else [(120, 80), (80, 60), (60, 80), (80, 120)]
    assert [layer.W.shape for layer in layers] == shapes
    for W, b in layers:
        r = 2 * np.sqrt(6 / sum(W.shape))
        assert 0.99 * r < np.abs(W).max() <= r
        # the variance of thousands of draws, within 5 standard errors
        assert abs(np.var(W) / (r**2 / 3) - 1) < 5 * np.sqrt(4 / 5 / W.size)
        assert b.shape == (W.shape[1],) and not b.any()
    if tied:
        assert [b.shape for b in params.b_prime] == [(80,), (120,)]
    else:
        assert (np.asarray(layers[0].W).T != layers[3].W).mean() > 0.9


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("sizes", [(12, 5), (12, 7, 3), (12, 9, 4, 2)])
def test_code_and_reconstruction_are_those_of_the_layers_in_turn(tied, sizes):
    architecture = Architecture(sizes, hidden="tanh", code="linear", output="sigmoid", tied=tied)
    params = parameters(architecture)
    h = np.asarray(X, np.float64)
    for k, layer in enumerate(params.encoder):
        h = h @ np.asarray(layer.W, np.float64) + np.asarray(layer.b)
        h = np.tanh(h) if k < len(sizes) - 2 else h
    code = encode(params, X, architecture=architecture)
    np.testing.assert_allclose(code, h, rtol=1e-5, atol=1e-6)
    z = h
    for k in range(len(sizes) - 1):
        V = np.asarray(params.encoder[-1 - k].W).T if tied else np.asarray(params.decoder[k].W)
        c = params.b_prime[k] if tied else params.decoder[k].b
        z = z @ V.astype(np.float64) + np.asarray(c)
        z = np.tanh(z) if k < len(sizes) - 2 else 1 / (1 + np.exp(-z))
    output = reconstruct(params, X, architecture=architecture)
    np.testing.assert_allclose(output, z, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_one_tied_sigmoid_layer_is_the_da():
    dA = autoencoder.init_tutorial(0, 12, 5)
    same = deep.Tied((deep.Layer(dA.W, dA.b),), (dA.b_prime,))
    architecture = Architecture((12, 5), tied=True)
    level = jnp.float32(0.3)
    value, gradient = jax.value_and_grad(deep.cost)(
        same, X, jax.random.key(0), architecture=architecture, pixel_scale=ONE, level=level
    )
    wanted, expected = jax.value_and_grad(autoencoder.cost)(
        dA, X, corruption.mask(jax.random.key(0), X, level)
    )
    np.testing.assert_array_equal(value, wanted)
    np.testing.assert_array_equal(gradient.encoder[0].W, expected.W)


def test_unrolled_layers_compute_what_the_stack_computed():
    lower, upper = stacked.init_tutorial(0, 12, [7, 3])
    whole = deep.unroll([lower, upper])
    architecture = Architecture((12, 7, 3))
    y = autoencoder.encode(upper, autoencoder.encode(lower, X))
    np.testing.assert_allclose(encode(whole, X, architecture=architecture), y, rtol=1e-6)
    z = autoencoder.decode(lower, autoencoder.decode(upper, y))
    np.testing.assert_allclose(reconstruct(whole, X, architecture=architecture), z, rtol=1e-6)


@pytest.mark.parametrize("sizes", [(12, 5), pytest.param((12, 7, 3), marks=SLOW), (12, 9, 4, 2)])
@pytest.mark.parametrize(
    "code", ["sigmoid", *(pytest.param(c, marks=SLOW) for c in ("tanh", "linear"))]
)
def test_contraction_is_the_norm_of_the_jacobian(sizes, code):
    architecture = Architecture(sizes, hidden="softplus", code=code)
    params = parameters(architecture)
    jacobian = jax.jacfwd(lambda x: deep.encode(params, x, architecture))
    wanted = np.square(jax.jit(jax.vmap(jacobian))(X)).sum(axis=(1, 2)).mean()
    value = contraction(params, X, architecture=architecture)
    np.testing.assert_allclose(value, wanted, rtol=2e-5)


def test_the_gradient_of_the_contraction_is_right_and_not_zero():
    # A known mistake: with integer division it is zero and does nothing.
    architecture = Architecture((12, 5), tied=True)
    params = parameters(architecture)
    compiled = jax.jit(lambda p: deep.contraction(p, X, architecture))
    # float32 and a step of .01: rounding and curvature each leave some 1e-3
    check_grads(compiled, (params,), 1, ["rev"], 1e-2, 1e-2, 1e-2)
    gradient = jax.grad(compiled)(params)
    assert float(jnp.abs(gradient.encoder[0].W).max()) > 1e-3


def test_all_terms_add_up():
    architecture = Architecture((12, 7, 3), hidden="relu")
    params = parameters(architecture)
    h = encode(params, X, architecture=architecture)
    weights = [*params.encoder, *params.decoder]
    parts = {
        "l1": (0.3, 0.3 * np.abs(h).sum(1).mean()),
        "kl": ((2.0, 0.1), 2 * objectives.kl_sparsity(h, 0.1)),
        "contract": (0.5, 0.5 * contraction(params, X, architecture=architecture)),
        "weight_decay": (0.01, 0.005 * sum(np.square(layer.W).sum() for layer in weights)),
    }
    plain = cost(params, architecture)
    terms = jax.tree.map(jnp.float32, {name: weight for name, (weight, _) in parts.items()})
    for name, (_, wanted) in parts.items():
        added = cost(params, architecture, **{name: terms[name]}) - plain
        np.testing.assert_allclose(added, wanted, rtol=1e-4)
    everything = cost(params, architecture, **terms) - plain
    np.testing.assert_allclose(everything, sum(value for _, value in parts.values()), rtol=1e-5)


@pytest.mark.parametrize("objective", ["cross-entropy", "squared-error"])
def test_a_pair_is_of_the_images_that_are_seen_and_of_their_targets(objective):
    architecture = Architecture((12, 7, 3), hidden="relu")
    params = parameters(architecture)
    seen = np.random.default_rng(1).random((7, 12), np.float32)
    value = pair_cost(params, (seen, X), jax.random.key(0), architecture, ONE, objective)
    z = np.asarray(reconstruct(params, seen, architecture=architecture), np.float64)
    x = np.asarray(X, np.float64)
    each = -(x * np.log(z) + (1 - x) * np.log(1 - z))
    if objective == "squared-error":
        each = (x - z) ** 2
    np.testing.assert_allclose(value, each.sum(axis=1).mean(), rtol=1e-5)
    same = pair_cost(params, (X, X), jax.random.key(1), architecture, ONE, objective)
    alone = pair_cost(params, X, jax.random.key(2), architecture, ONE, objective)
    np.testing.assert_array_equal(same, alone)


@partial(jax.jit, static_argnames=("architecture", "objective"))
def pair_cost(params, batch, key, architecture, pixel_scale, objective, **terms):
    how = dict(architecture=architecture, objective=objective, pixel_scale=pixel_scale)
    return deep.cost(params, batch, key, **how, **terms)


def test_both_of_a_pair_are_scaled_if_they_are_bytes_and_the_seen_ones_may_be_corrupted_too():
    architecture, scale = Architecture((12, 5)), jnp.float32(255)
    params = parameters(architecture)
    bytes_ = np.random.default_rng(1).integers(0, 256, (2, 7, 12), np.uint8)
    seen, target = bytes_
    how = (architecture, "cross-entropy")
    floats = bytes_ / np.float32(255)

    def cost_of(batch, pixel_scale, seed, **terms):
        key = jax.random.key(seed)
        return pair_cost(params, batch, key, how[0], pixel_scale, how[1], **terms)

    expected = cost_of((floats[0], floats[1]), ONE, 0)
    for batch in ((seen, target), (floats[0], target), (seen, floats[1])):
        np.testing.assert_allclose(cost_of(batch, scale, 0), expected, rtol=1e-6)
    level = jnp.float32(0.5)
    corrupted = [float(cost_of((seen, target), scale, seed, level=level)) for seed in (0, 1)]
    assert len({*corrupted, float(expected)}) == 3


def test_the_penalty_on_the_code_is_that_of_the_images_that_are_seen():
    architecture = Architecture((12, 5))
    params = parameters(architecture)
    seen = np.random.default_rng(1).random((7, 12), np.float32)
    args = ((seen, X), jax.random.key(0), architecture, ONE, "cross-entropy")
    added = pair_cost(params, *args, l1=jnp.float32(0.3)) - pair_cost(params, *args)
    expected = 0.3 * np.abs(encode(params, seen, architecture=architecture)).sum(axis=1).mean()
    np.testing.assert_allclose(added, expected, rtol=1e-4)


def test_the_key_decides_the_noise():
    architecture = Architecture((12, 5))
    params, how = parameters(architecture), dict(noise="gaussian", level=jnp.float32(0.5))
    costs = {float(cost(params, architecture, seed, **how)) for seed in range(3)}
    assert len(costs) == 3


def test_impossible_architectures_are_refused():
    refused(lambda: Architecture((784, 0)), "code size", "at least 1", "got 0")
    refused(lambda: Architecture((784, 0, 2)), "layer size", "got 0")
    refused(lambda: Architecture((784,)), "sizes", "pixels and code")
    refused(lambda: Architecture((784, 2), hidden="swish"), "activation", "softplus", "swish")
    linear = Architecture((784, 2), output="linear")
    refused(lambda: deep.check(linear, "cross-entropy"), "sigmoid output", "squared-error")
    refused(lambda: deep.check(linear, "hinge"), "objective", "hinge")
    deep.check(linear, "squared-error")
