"""The supervised baselines: shapes, gradients against hand-made ones, convolution against XLA's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

nnx = pytest.importorskip("flax.nnx", reason="an extra: pip install '.[experiments]'")

from dae_jax import supervised  # noqa: E402

ONE = jnp.float32(1)


def images(n, pixels=784):
    return jax.random.uniform(jax.random.key(1), (n, pixels))


@pytest.mark.parametrize("padding", ["VALID", "SAME"])
def test_convolution_is_that_of_xla_and_so_is_its_gradient(padding):
    x = jax.random.normal(jax.random.key(0), (3, 9, 8, 2))
    kernel = jax.random.normal(jax.random.key(1), (5, 5, 2, 4))

    def ours(x, kernel):
        return supervised.convolve(x, kernel, (1, 1), padding)

    def xlas(x, kernel):
        names = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=names)

    np.testing.assert_allclose(ours(x, kernel), xlas(x, kernel), rtol=1e-4, atol=1e-4)
    gradients = [
        jax.grad(lambda x, k, f=f: jnp.sum(jnp.sin(f(x, k))), (0, 1))(x, kernel)
        for f in (ours, xlas)
    ]
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_pooling_takes_the_largest_of_each_square():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(supervised.pool(x)[0, :, :, 0], [[5, 7], [13, 15]])


def test_softmax_regression_begins_at_log_10_and_its_gradient_is_known():
    graph, params = supervised.split(supervised.MLP((784, 10), rngs=nnx.Rngs(0)))
    x, labels = images(6), jnp.array([0, 3, 9, 9, 1, 2])
    value, gradient = jax.value_and_grad(supervised.cost)(
        params, (x, labels), jax.random.key(0), graph=graph, pixel_scale=ONE
    )
    assert float(value) == pytest.approx(np.log(10), rel=1e-6)
    error = 0.1 - np.eye(10)[labels]
    np.testing.assert_allclose(
        gradient["top"]["kernel"][...], np.asarray(x).T @ error / 6, rtol=1e-4, atol=1e-7
    )


def test_weight_decay_counts_matrices_and_no_bias():
    graph, params = supervised.split(supervised.MLP((784, 7, 10), rngs=nnx.Rngs(0)))
    params = jax.tree.map(lambda a: a + 0.1, params)
    batch = images(4), jnp.zeros(4, jnp.int32)
    how = dict(graph=graph, pixel_scale=ONE)
    plain = supervised.cost(params, batch, jax.random.key(0), **how)
    more = supervised.cost(params, batch, jax.random.key(1), weight_decay=jnp.float32(0.5), **how)
    squares = sum(float(jnp.sum(a**2)) for a in jax.tree.leaves(params) if a.ndim == 2)
    assert float(more - plain) == pytest.approx(0.25 * squares, rel=1e-4)


@pytest.mark.parametrize(("padding", "flat"), [("VALID", 4 * 4 * 5), ("SAME", 7 * 7 * 5)])
def test_lenet_has_the_shapes_of_the_tutorial(padding, flat):
    model = supervised.LeNet((3, 5), 20, padding=padding, rngs=nnx.Rngs(0))
    graph, params = supervised.split(model)
    assert params["convolutions"][1]["kernel"].shape == (5, 5, 3, 5)
    assert params["classifier"]["hidden"][0]["kernel"].shape == (flat, 20)
    assert supervised.logits(params, images(2), graph=graph).shape == (2, 10)


@pytest.mark.parametrize("where", ["dropout", "input_dropout"])
def test_dropout_is_drawn_from_the_key_in_training_and_absent_in_use(where):
    model = supervised.MLP((784, 50, 10), jax.nn.relu, **{where: 0.5}, rngs=nnx.Rngs(0))
    graph, params = supervised.split(model)
    params = jax.tree.map(lambda a: a + jnp.sin(jnp.arange(a.size)).reshape(a.shape), params)
    batch = images(4), jnp.array([1, 2, 3, 4])
    costs = [
        float(supervised.cost(params, batch, jax.random.key(i), graph=graph, pixel_scale=ONE))
        for i in (0, 1)
    ]
    assert costs[0] != costs[1]
    first, again = (supervised.logits(params, batch[0], graph=graph) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_normal_weights_are_cut_off_and_biases_begin_where_told():
    net = supervised.LeNet(deviation=0.1, bias=0.1, rngs=nnx.Rngs(0))
    layers = [*net.convolutions, *net.classifier.hidden, net.classifier.top]
    for layer in layers:
        weights = np.asarray(layer.kernel[...])
        assert np.abs(weights).max() <= 0.2
        # Cut off at two standard deviations, a normal distribution keeps .8796 of its own.
        assert weights.std() == pytest.approx(0.08796, rel=4 / np.sqrt(2 * weights.size))
        np.testing.assert_array_equal(layer.bias[...], np.float32(0.1))
