"""The supervised baselines: shapes, gradients against hand-made ones, convolution against XLA's."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

nnx = pytest.importorskip("flax.nnx", reason="an extra: pip install '.[experiments]'")

from dae_jax import supervised  # noqa: E402
from helpers import SLOW, drawn  # noqa: E402

RNG = np.random.default_rng(0)
ONE = jnp.float32(1)
X, LABELS = RNG.random((6, 784), np.float32), np.array([0, 3, 9, 9, 1, 2], np.int32)
cost = jax.jit(supervised.cost, static_argnames="graph")


def made(kind, *args, **how):
    """The graph of a network, and its parameters as normal numbers: nothing to compile."""
    abstract = nnx.eval_shape(lambda: kind(*args, **how, rngs=nnx.Rngs(0)))
    graph, params = supervised.split(abstract)
    return graph, drawn(lambda: params)


@pytest.mark.parametrize("padding", ["VALID", pytest.param("SAME", marks=SLOW)])
def test_convolution_is_that_of_xla_and_so_is_its_gradient(padding):
    x = RNG.normal(size=(3, 9, 8, 2)).astype(np.float32)
    kernel = RNG.normal(size=(5, 5, 2, 4)).astype(np.float32)

    def ours(x, kernel):
        return supervised.convolve(x, kernel, (1, 1), padding)

    def xlas(x, kernel):
        names = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=names)

    def loss(x, kernel, convolve):
        y = convolve(x, kernel)
        return jnp.sum(jnp.sin(y)), y

    graded = jax.jit(jax.grad(loss, (0, 1), has_aux=True), static_argnames="convolve")
    (mine, y), (theirs, expected) = (graded(x, kernel, f) for f in (ours, xlas))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_theanos_pooling_gives_each_of_several_tied_pixels_the_whole_gradient():
    x = jnp.array([[1.0, 3, 2, 2], [0, 3, 2, 2]]).reshape(1, 2, 4, 1)
    np.testing.assert_array_equal(supervised.theano_pool(x), supervised.pool(x))
    for pool, expected in (
        (supervised.theano_pool, [[0, 5, 7, 7], [0, 5, 7, 7]]),
        (supervised.pool, [[0, 2.5, 1.75, 1.75], [0, 2.5, 1.75, 1.75]]),
    ):
        given = jnp.array([5.0, 7.0]).reshape(1, 1, 2, 1)
        (gradient,) = jax.vjp(pool, x)[1](given)
        np.testing.assert_array_equal(gradient.reshape(2, 4), expected)


def test_pooling_takes_the_largest_of_each_square():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(supervised.pool(x)[0, :, :, 0], [[5, 7], [13, 15]])


def test_softmax_regression_begins_at_log_10_and_its_gradient_is_known():
    graph, params = supervised.split(supervised.MLP((784, 10), rngs=nnx.Rngs(0)))
    graded = jax.jit(jax.value_and_grad(supervised.cost), static_argnames="graph")
    value, gradient = graded(params, (X, LABELS), jax.random.key(0), graph=graph, pixel_scale=ONE)
    assert float(value) == pytest.approx(np.log(10), rel=1e-6)
    error = 0.1 - np.eye(10)[LABELS]
    np.testing.assert_allclose(
        gradient["top"]["kernel"][...], X.T @ error / 6, rtol=1e-4, atol=1e-7
    )


def test_weight_decay_counts_matrices_and_no_bias():
    graph, params = made(supervised.MLP, (784, 7, 10))
    how = dict(graph=graph, pixel_scale=ONE)
    plain = cost(params, (X, LABELS), jax.random.key(0), **how)
    decay = jnp.float32(0.5)
    more = cost(params, (X, LABELS), jax.random.key(1), weight_decay=decay, **how)
    squares = sum(np.sum(a**2) for a in jax.tree.leaves(params) if a.ndim == 2)
    assert float(more - plain) == pytest.approx(0.25 * squares, rel=1e-4)


@pytest.mark.parametrize(("padding", "flat"), [("VALID", 4 * 4 * 5), ("SAME", 7 * 7 * 5)])
def test_lenet_has_the_shapes_of_the_tutorial(padding, flat):
    graph, params = made(supervised.LeNet, (3, 5), 20, padding=padding)
    assert params["convolutions"][1]["kernel"].shape == (5, 5, 3, 5)
    assert params["classifier"]["hidden"][0]["kernel"].shape == (flat, 20)
    logits = jax.eval_shape(partial(supervised.logits, graph=graph), params, X)
    assert logits.shape == (6, 10)


@pytest.mark.parametrize("where", ["dropout", "input_dropout"])
def test_dropout_is_drawn_from_the_key_in_training_and_absent_in_use(where):
    graph, params = made(supervised.MLP, (784, 50, 10), jax.nn.relu, **{where: 0.5})
    costs = [
        float(cost(params, (X, LABELS), jax.random.key(i), graph=graph, pixel_scale=ONE))
        for i in (0, 1, 0)
    ]
    assert costs[0] == costs[2] != costs[1]
    hidden, top = params["hidden"][0], params["top"]
    h = np.maximum(X @ hidden["kernel"][...] + hidden["bias"][...], 0)
    expected = h @ top["kernel"][...] + top["bias"][...]
    logits = jax.jit(supervised.logits, static_argnames="graph")(params, X, graph=graph)
    # float32 sums of 784 terms
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.slow
def test_normal_weights_are_truncated_and_biases_begin_at_their_value():
    net = nnx.jit(lambda: supervised.LeNet(deviation=0.1, bias=0.1, rngs=nnx.Rngs(0)))()
    layers = [*net.convolutions, *net.classifier.hidden, net.classifier.top]
    for layer in layers:
        weights = np.asarray(layer.kernel[...])
        assert np.abs(weights).max() <= 0.2
        # Cut off at two standard deviations, a normal distribution keeps .8796 of its own.
        assert weights.std() == pytest.approx(0.08796, rel=4 / np.sqrt(2 * weights.size))
        np.testing.assert_array_equal(layer.bias[...], np.float32(0.1))


# ---- the initial weights of the tutorials ----------------------------------------------------


def assert_uniform(weights, r):
    """Check that weights are uniform in (-r, r): range, mean and variance within 5 sigma."""
    weights = np.asarray(weights, np.float64).ravel()
    n = weights.size
    assert np.abs(weights).max() <= r * (1 + 1e-6)
    assert np.abs(weights).max() > r * (1 - 10 / n)  # missed by chance once in e^10
    assert abs(weights.mean()) < 5 * r / np.sqrt(3 * n)
    assert abs(weights.var() / (r**2 / 3) - 1) < 5 * np.sqrt(4 / 5 / n)


@pytest.mark.slow
def test_the_weights_of_lenet_are_uniform_in_the_ranges_of_the_tutorial():
    net = nnx.jit(lambda: supervised.LeNet(rngs=nnx.Rngs(0)))()
    # fan-in: 25 weights per channel below; fan-out: a quarter of 25 per kernel, rounded down
    below, above = net.convolutions
    assert below.kernel.shape == (5, 5, 1, 20) and above.kernel.shape == (5, 5, 20, 50)
    assert_uniform(below.kernel[...], np.sqrt(6 / (25 + 20 * 25 // 4)))
    assert_uniform(above.kernel[...], np.sqrt(6 / (20 * 25 + 50 * 25 // 4)))
    (hidden,), top = net.classifier.hidden, net.classifier.top
    assert hidden.kernel.shape == (800, 500)
    assert_uniform(hidden.kernel[...], np.sqrt(6 / (800 + 500)))
    assert top.kernel.shape == (500, 10) and not top.kernel[...].any()
    assert not any(layer.bias[...].any() for layer in (below, above, hidden, top))


def test_the_weights_of_an_mlp_are_uniform_and_those_of_its_top_are_zero():
    net = nnx.jit(lambda: supervised.MLP((784, 50, 30, 10), rngs=nnx.Rngs(3)))()
    for layer, sizes in zip(net.hidden, [(784, 50), (50, 30)], strict=True):
        assert layer.kernel.shape == sizes
        assert_uniform(layer.kernel[...], np.sqrt(6 / sum(sizes)))
    assert not net.top.kernel[...].any()
    assert not any(layer.bias[...].any() for layer in [*net.hidden, net.top])


@pytest.mark.parametrize(
    ("how", "zero"),
    [
        ({}, True),
        ({"zero_top": False}, False),
        ({"deviation": 0.1}, False),
        ({"deviation": 0.1, "zero_top": True}, True),
        ({"deviation": 0.1, "zero_top": False}, False),
    ],
)
def test_the_top_is_zero_unless_weights_are_normal_or_as_it_is_said(how, zero):
    net = nnx.jit(lambda: supervised.MLP((20, 15, 10), rngs=nnx.Rngs(0), **how))()
    assert net.top.kernel[...].any() == (not zero)
    assert net.hidden[0].kernel[...].all()  # none is zero


def test_the_tutorials_network_has_numpys_weights():
    net = supervised.tutorial_mlp(1234, 784, 500, 10)
    r = np.sqrt(6.0 / (784 + 500))
    drawn = np.random.RandomState(1234).uniform(low=-r, high=r, size=(784, 500))
    (hidden,) = net.hidden
    np.testing.assert_array_equal(hidden.kernel[...], drawn.astype(np.float32))
    assert hidden.kernel.shape == (784, 500) and net.top.kernel.shape == (500, 10)
    assert not net.top.kernel[...].any() and not hidden.bias[...].any()
    assert not net.top.bias[...].any()
    assert net.activation is jnp.tanh
    assert (net.dropout.rate, net.input_dropout.rate) == (0, 0)
    other = supervised.tutorial_mlp(1235, 784, 500, 10).hidden[0]
    assert (np.asarray(other.kernel[...]) != drawn.astype(np.float32)).mean() > 0.99


def test_the_tutorials_network_computes_what_numpy_does():
    net = supervised.tutorial_mlp(7, 784, 5, 3)
    graph, params = supervised.split(net)
    top = RNG.normal(size=(5, 3)).astype(np.float32)
    params["top"]["kernel"][...] = jnp.asarray(top)
    r = np.sqrt(6.0 / (784 + 5))
    W = np.random.RandomState(7).uniform(-r, r, (784, 5))
    expected = np.tanh(X.astype(float) @ W) @ top
    logits = jax.jit(supervised.logits, static_argnames="graph")(params, X, graph=graph)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_the_tutorials_lenet_computes_what_theano_does_with_its_weights():
    """With kernels turned upside down, channels first, and biases after pooling, in float64."""
    net = supervised.TheanoLeNet(23455)
    rng = np.random.RandomState(23455)
    bounds = [np.sqrt(6 / (25 + 125)), np.sqrt(6 / (500 + 312)), np.sqrt(6 / 1300)]
    W = [
        rng.uniform(-r, r, shape)
        for r, shape in zip(bounds, [(20, 1, 5, 5), (50, 20, 5, 5), (800, 500)], strict=True)
    ]
    bias = np.random.default_rng(0).normal(0, 0.1, 20).astype(np.float32)
    net.convolutions[0].bias[...] = jnp.asarray(bias)
    x = np.random.default_rng(1).random((2, 784), np.float32)
    h = x.reshape(2, 1, 28, 28).astype(np.float64)
    for kernels, b in ((W[0], bias), (W[1], np.zeros(50))):
        patches = np.lib.stride_tricks.sliding_window_view(h, (5, 5), axis=(2, 3))
        a = np.einsum("nchwij,kcij->nkhw", patches, kernels[..., ::-1, ::-1])
        n, k, height, width = a.shape
        pooled = a.reshape(n, k, height // 2, 2, width // 2, 2).max(axis=(3, 5))
        h = np.tanh(pooled + b[:, None, None])
    expected = np.tanh(h.reshape(2, 800) @ W[2])
    top = jnp.asarray(np.random.default_rng(2).normal(0, 0.1, (500, 10)), jnp.float32)
    net.classifier.top.kernel[...] = top
    np.testing.assert_allclose(net(jnp.asarray(x)), expected @ np.asarray(top), atol=1e-4)
