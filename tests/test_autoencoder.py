"""The model against a float64 NumPy oracle whose gradients are derived by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from dae_jax import autoencoder as ae
from dae_jax import corruption
from dae_jax.errors import InputError
from helpers import sigmoid

RNG = np.random.default_rng(0)
N, V, H = 7, 12, 5
X = jnp.asarray(RNG.uniform(size=(N, V)), jnp.float32)
X_TILDE = X * jnp.asarray(RNG.integers(0, 2, X.shape), jnp.float32)
PARAMS = ae.init_tutorial(0, V, H, b=RNG.normal(size=H), b_prime=RNG.normal(size=V))


def oracle(params, x, x_tilde, objective):
    """Cost and gradients of the tied dA, equations (1) to (4), by hand and in float64."""
    W, b, c = (np.asarray(p, np.float64) for p in params)
    x, x_tilde = np.asarray(x, np.float64), np.asarray(x_tilde, np.float64)
    y = sigmoid(x_tilde @ W + b)
    z = sigmoid(y @ W.T + c)
    if objective == "cross-entropy":
        cost = -(x * np.log(z) + (1 - x) * np.log(1 - z)).sum(1).mean()
        d_a = (z - x) / len(x)
    else:
        cost = ((x - z) ** 2).sum(1).mean()
        d_a = 2 * (z - x) * z * (1 - z) / len(x)
    d_h = d_a @ W * y * (1 - y)
    return cost, x_tilde.T @ d_h + d_a.T @ y, d_h.sum(0), d_a.sum(0)


@pytest.mark.parametrize("objective", ["cross-entropy", "squared-error"])
def test_cost_and_gradients_equal_the_hand_derived_ones(objective):
    graded = jax.jit(jax.value_and_grad(ae.cost), static_argnames="objective")
    cost, grads = graded(PARAMS, X, X_TILDE, objective=objective)
    expected, *expected_grads = oracle(PARAMS, X, X_TILDE, objective)
    # float32 sums of about a hundred terms
    np.testing.assert_allclose(cost, expected, rtol=1e-5)
    for got, want in zip(grads, expected_grads, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_tied_weights_are_one_array_whose_gradient_sums_both_uses():
    assert ae.Params._fields == ("W", "b", "b_prime")
    untied = ae.UntiedParams(*PARAMS, W_prime=PARAMS.W.T)
    gradient = jax.jit(jax.grad(ae.cost))
    tied, apart = (gradient(params, X, X_TILDE) for params in (PARAMS, untied))
    np.testing.assert_allclose(tied.W, apart.W + apart.W_prime.T, rtol=1e-5, atol=1e-7)
    # and neither use is zero, or the sum would show nothing
    assert np.abs(apart.W).max() > 1e-3
    assert np.abs(apart.W_prime).max() > 1e-3


def test_untied_decoder_ignores_the_encoder_weights():
    untied = ae.init_tutorial(0, V, H, tied=False)
    assert isinstance(untied, ae.UntiedParams)
    assert not np.allclose(untied.W_prime, untied.W.T)
    code = ae.encode(untied, X)
    other = untied._replace(W=untied.W + 1)
    np.testing.assert_array_equal(ae.decode(untied, code), ae.decode(other, code))


def test_parameter_trees_are_exactly_these():
    tied = jax.tree.map(jnp.shape, ae.init(jax.random.key(0), V, H)._asdict())
    assert tied == {"W": (V, H), "b": (H,), "b_prime": (V,)}
    untied = jax.tree.map(jnp.shape, ae.init_tutorial(1, V, H, tied=False)._asdict())
    assert untied == tied | {"W_prime": (H, V)}


def test_the_cost_is_averaged_over_the_minibatch():
    cost = jax.jit(ae.cost)
    once = cost(PARAMS, X, X_TILDE)
    twice = cost(PARAMS, np.tile(X, (2, 1)), np.tile(X_TILDE, (2, 1)))
    np.testing.assert_allclose(once, twice, rtol=1e-6)


@pytest.mark.parametrize("objective", ["cross-entropy", "squared-error"])
@pytest.mark.parametrize("tied", [True, False])
def test_gradients_agree_with_finite_differences(objective, tied):
    params = ae.init_tutorial(1, V, H, tied=tied)
    # finite differences of a float32 function
    check_grads(
        jax.jit(lambda p: ae.cost(p, X, X_TILDE, objective)),
        (params,),
        1,
        modes=["rev"],
        rtol=2e-2,
        atol=2e-2,
    )


def test_compiled_equals_eager():
    for f in (ae.encode, ae.reconstruct):
        np.testing.assert_allclose(jax.jit(f)(PARAMS, X), f(PARAMS, X), rtol=1e-6)
    np.testing.assert_allclose(
        jax.jit(ae.cost)(PARAMS, X, X_TILDE), ae.cost(PARAMS, X, X_TILDE), rtol=1e-6
    )


def test_reconstruct_is_decode_of_encode_and_a_linear_decoder_has_no_sigmoid():
    np.testing.assert_array_equal(
        ae.reconstruct(PARAMS, X), ae.decode(PARAMS, ae.encode(PARAMS, X))
    )
    a = ae.decode_logits(PARAMS, ae.encode(PARAMS, X))
    linear = ae.cost(PARAMS, X, X, "squared-error", "linear")
    np.testing.assert_allclose(linear, np.square(a - X).sum(1).mean(), rtol=1e-5)


def test_initial_weights_are_uniform_in_the_tutorials_range_and_biases_zero():
    params = ae.init(jax.random.key(3), 784, 500)
    r = 4 * np.sqrt(6 / (784 + 500))
    W = np.asarray(params.W)
    assert -r <= W.min() < -0.999 * r
    assert 0.999 * r < W.max() <= r
    # 392,000 draws: mean and variance within 5 standard errors
    assert abs(W.mean()) < 5 * r / np.sqrt(3 * W.size)
    assert abs(W.var() / (r**2 / 3) - 1) < 0.01
    assert not params.b.any()
    assert not params.b_prime.any()


def test_tutorial_weights_are_the_originals():
    W = ae.init_tutorial(123, 784, 500).W
    # known to the eight decimals that the original printed
    np.testing.assert_allclose(W[0, :3], [0.11645861, -0.03911702, 0.10438896], rtol=0, atol=5e-9)
    assert W.dtype == np.float32


@pytest.mark.parametrize(
    "init",
    [lambda **k: ae.init(jax.random.key(0), V, H, **k), lambda **k: ae.init_tutorial(1, V, H, **k)],
)
def test_given_weights_and_biases_are_used_and_their_shapes_checked(init):
    W, b, c = np.ones((V, H), np.float32), np.full(H, 2.0), np.full(V, 3.0)
    params = init(W=W, b=b, b_prime=c)
    for got, want in zip(params, (W, b, c), strict=True):
        np.testing.assert_array_equal(got, np.asarray(want, np.float32))
    with pytest.raises(InputError, match=r"W: expected shape \(12, 5\), got \(5, 12\)"):
        init(W=W.T)
    with pytest.raises(InputError, match="b_prime"):
        init(b_prime=b)


def test_impossible_sizes_and_seeds_are_refused():
    with pytest.raises(InputError, match="n_hidden: expected at least 1, got 0"):
        ae.init(jax.random.key(0), 3, 0)
    with pytest.raises(InputError, match="n_visible"):
        ae.init_tutorial(0, -1, 3)
    with pytest.raises(InputError, match="seed"):
        ae.init_tutorial(-1, 3, 3)


def test_integer_pixels_are_scaled_and_floats_are_unchanged():
    scale = jnp.float32(256)
    np.testing.assert_array_equal(ae.pixels(jnp.array([0, 128], jnp.uint8), scale), [0, 0.5])
    np.testing.assert_array_equal(ae.pixels(jnp.array([0.25]), scale), [0.25])


@pytest.mark.parametrize("noise", corruption.NOISES)
def test_the_denoising_cost_scales_corrupts_and_reconstructs(noise):
    images, level = RNG.integers(0, 256, (N, V), np.uint8), jnp.float32(0.3)
    x = jnp.asarray(images / np.float32(255))
    x_tilde = corruption.NOISES[noise](jax.random.key(5), x, level)
    expected, *_ = oracle(PARAMS, x, x_tilde, "cross-entropy")
    how = dict(level=level, pixel_scale=jnp.float32(255), noise=noise)
    value = ae.denoising_cost(PARAMS, images, jax.random.key(5), **how)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert value != ae.denoising_cost(PARAMS, images, jax.random.key(6), **how)


# ---- missing values -------------------------------------------------------------------------


GAPS = np.random.default_rng(1).random((N, V)) < 0.3


@pytest.mark.parametrize("objective", ["cross-entropy", "squared-error"])
def test_missing_values_are_masked_at_the_input_and_left_out_of_the_cost(objective):
    batch = np.where(GAPS, np.nan, X).astype(np.float32)
    noise = lambda key, x, level: x + level  # noqa: E731  # would fill the gaps
    got = ae.denoising_cost(
        PARAMS, batch, jax.random.key(0), level=0.5, noise=noise, objective=objective, missing=True
    )
    W, b, c = (np.asarray(p, np.float64) for p in PARAMS)
    z = sigmoid(sigmoid(np.where(GAPS, 0, X + 0.5) @ W + b) @ W.T + c)
    x = np.asarray(X, np.float64)
    terms = -(x * np.log(z) + (1 - x) * np.log(1 - z))
    terms = terms if objective == "cross-entropy" else (x - z) ** 2
    assert float(got) == pytest.approx(terms[~GAPS].sum() / N, rel=1e-5)


@pytest.mark.parametrize("noise", ["masking", "salt-and-pepper", "gaussian"])
@pytest.mark.parametrize("objective", ["cross-entropy", "squared-error"])
def test_emphasis_weights_the_entries_that_the_noise_changes(noise, objective):
    def cost(emphasis, batch=X, missing=False):
        return float(
            ae.denoising_cost(
                *(PARAMS, batch, jax.random.key(0)),
                **{"level": 0.4, "noise": noise, "objective": objective},
                **{"emphasis": emphasis, "missing": missing},
            )
        )

    x_tilde = np.asarray(corruption.corrupt(jax.random.key(0), jnp.asarray(X), 0.4, noise))
    changed = np.asarray(corruption.changed(jax.random.key(0), jnp.asarray(X), 0.4, noise))
    W, b, c = (np.asarray(p, np.float64) for p in PARAMS)
    x, z = np.asarray(X, np.float64), sigmoid(sigmoid(x_tilde @ W + b) @ W.T + c)
    terms = -(x * np.log(z) + (1 - x) * np.log(1 - z))
    terms = terms if objective == "cross-entropy" else (x - z) ** 2
    expected = (3 * terms[changed].sum() + 0.5 * terms[~changed].sum()) / N
    assert cost((3, 0.5)) == pytest.approx(expected, rel=1e-5)
    assert cost((1, 1)) == pytest.approx(cost(None), rel=1e-6)
    assert changed.all() if noise == "gaussian" else 0.2 < changed.mean() < 0.6
    gaps = np.where(GAPS, np.nan, X).astype(np.float32)
    assert cost((0, 0), gaps, True) == 0 < cost((1, 0), gaps, True) < cost((1, 2), gaps, True) + 1


def test_without_missing_values_the_cost_is_the_same_to_the_bit():
    def cost(missing):
        return ae.denoising_cost(PARAMS, X, jax.random.key(0), level=0.3, missing=missing)

    assert cost(True) == cost(False)


def test_the_gradient_of_missing_values_is_that_of_finite_differences():
    batch = np.where(GAPS, np.nan, X).astype(np.float32)

    def cost(params):
        with jax.debug_key_reuse(False):  # the same noise for every difference
            return ae.denoising_cost(params, batch, jax.random.key(0), level=0.3, missing=True)

    check_grads(cost, (PARAMS,), order=1, modes=["rev"], rtol=2e-2)
