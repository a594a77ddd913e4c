"""The stack against a float64 NumPy oracle, and against its parts: dAs, softmax regression."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dae_jax import autoencoder, corruption, stacked
from dae_jax.stacked import Classifier, Layer
from helpers import refused, sigmoid

RNG = np.random.default_rng(0)
N, V, HIDDEN, K = 9, 12, (7, 5), 4
X = jnp.asarray(RNG.uniform(0.1, 1, size=(N, V)), jnp.float32)
LABELS = jnp.asarray(RNG.integers(0, K, N), jnp.int32)
SCALE = jnp.float32(255)


def key(seed=0):
    return jax.random.key(seed)


def random_layer(n_in, n_out):
    W, b = RNG.normal(size=(n_in, n_out)), RNG.normal(size=n_out)
    return Layer(jnp.asarray(W, jnp.float32), jnp.asarray(b, jnp.float32))


SIZES = (V, *HIDDEN)
MODEL = Classifier(
    tuple(random_layer(*pair) for pair in pairwise(SIZES)),
    random_layer(HIDDEN[-1], K),
)


COMPILED = jax.jit(stacked.cost)
GRADED = jax.jit(jax.value_and_grad(stacked.cost))


def cost(model, batch=(X, LABELS), draw=None, of=COMPILED, **how):
    return of(model, batch, key() if draw is None else draw, pixel_scale=SCALE, **how)


def oracle(model, x, labels, masks=None):
    """Cost and gradients by hand, in float64; a layer's inputs are multiplied by its mask."""
    y = np.asarray(x, np.float64)
    layers = [*model.hidden, model.top]
    masks = [np.ones(1)] * len(layers) if masks is None else masks
    inputs, activations = [], []
    for i, (W, b) in enumerate(layers):
        inputs.append(y * masks[i])
        a = inputs[-1] @ np.asarray(W, np.float64) + np.asarray(b, np.float64)
        y = sigmoid(a)
        activations.append(y)
    log_p = a - np.log(np.exp(a).sum(1, keepdims=True))
    n, t = len(a), np.asarray(labels)
    d_a = (np.exp(log_p) - np.eye(a.shape[1])[t]) / n
    gradients = []
    for i in reversed(range(len(layers))):
        gradients.insert(0, Layer(inputs[i].T @ d_a, d_a.sum(0)))
        if i:
            y = activations[i - 1]
            d_a = d_a @ np.asarray(layers[i].W, np.float64).T * masks[i] * y * (1 - y)
    return -log_p[np.arange(n), t].mean(), Classifier(tuple(gradients[:-1]), gradients[-1])


def assert_close(got, want):
    # float32 sums of about a hundred terms
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), got, want)


# ---- initial weights ------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "hidden"), [(89677, [30, 20, 10]), (0, [5]), (2**32 - 1, [3, 9])])
def test_tutorial_weights_are_one_legacy_stream_through_all_layers(seed, hidden):
    rng = np.random.RandomState(seed)
    rng.randint(2**30)
    layers = stacked.init_tutorial(seed, 40, hidden)
    assert len(layers) == len(hidden)
    for n_in, layer in zip([40, *hidden], layers, strict=False):
        n_out = layer.W.shape[1]
        r = np.sqrt(6 / (n_in + n_out))
        W = 4 * rng.uniform(-r, r, (n_in, n_out))
        np.testing.assert_array_equal(layer.W, W.astype(np.float32))
        assert not layer.b.any() and not layer.b_prime.any()
        assert layer.b_prime.shape == (n_in,)


def test_jax_weights_have_their_sizes_and_ranges_and_differ_between_layers():
    layers = stacked.init(key(), V, [V, V])
    assert [layer.W.shape for layer in layers] == [(V, V), (V, V)]
    assert not np.allclose(layers[0].W, layers[1].W)
    for layer in layers:
        r = 4 * np.sqrt(6 / (2 * V))
        assert 0.9 * r < np.abs(layer.W).max() <= r


@pytest.mark.parametrize("hidden", [[0], [5, 0], [5, -1, 3]])
def test_sizes_below_1_are_refused(hidden):
    refused(lambda: stacked.init(key(), V, hidden), "at least 1")
    refused(lambda: stacked.init_tutorial(1, V, hidden), "at least 1")


def test_the_hidden_layers_are_the_encoders_and_the_top_is_zero():
    layers = stacked.init_tutorial(1, V, HIDDEN)
    layers = [layer._replace(b=layer.b + k) for k, layer in enumerate(layers)]
    model = stacked.classifier(layers, V, K)
    assert len(model.hidden) == len(layers)
    for mine, pretrained in zip(model.hidden, layers, strict=True):
        np.testing.assert_array_equal(mine.W, pretrained.W)
        np.testing.assert_array_equal(mine.b, pretrained.b)
    assert model.top.W.shape == (HIDDEN[-1], K) and model.top.b.shape == (K,)
    assert not model.top.W.any() and not model.top.b.any()
    # without layers, softmax regression on the inputs
    assert stacked.classifier([], V, K).top.W.shape == (V, K)


@pytest.mark.parametrize("n_classes", [2, 10])
def test_an_untrained_classifier_costs_log_k(n_classes):
    model = stacked.classifier(stacked.init_tutorial(1, V, HIDDEN), V, n_classes)
    labels = LABELS % n_classes
    np.testing.assert_allclose(cost(model, (X, labels)), np.log(n_classes), rtol=1e-6)


# ---- codes and costs ------------------------------------------------------------------------


def test_codes_are_those_of_the_encoders_in_turn():
    layers = stacked.init_tutorial(1, V, HIDDEN)
    y = X
    for k, layer in enumerate(layers, 1):
        y = autoencoder.encode(layer, y)
        np.testing.assert_array_equal(stacked.encode(layers[:k], X), y)
    model = stacked.classifier(layers, V, K)
    np.testing.assert_array_equal(stacked.encode(model.hidden, X), y)
    np.testing.assert_array_equal(stacked.encode([], X), X)


def test_cost_and_gradients_of_all_layers_equal_the_hand_derived_ones():
    value, gradients = cost(MODEL, of=GRADED)
    expected, expected_gradients = oracle(MODEL, X, LABELS)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert_close(gradients, expected_gradients)


def test_the_gradient_reaches_every_layer():
    """Fine-tuning only the softmax layer is a known mistake."""
    _, gradients = cost(MODEL, of=GRADED)
    assert len(gradients.hidden) == len(HIDDEN)
    for layer in (*gradients.hidden, gradients.top):
        assert np.abs(layer.W).max() > 1e-5 and np.abs(layer.b).max() > 1e-5


def test_softmax_regression_is_the_case_without_layers():
    model = Classifier((), random_layer(V, K))
    value, gradients = cost(model, of=GRADED)
    expected, expected_gradients = oracle(model, X, LABELS)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert_close(gradients, expected_gradients)


def test_bytes_are_scaled_as_in_pretraining():
    images = jnp.asarray(RNG.integers(0, 256, (N, V)), jnp.uint8)
    expected, _ = oracle(MODEL, np.asarray(images, float) / 255, LABELS)
    np.testing.assert_allclose(cost(MODEL, (images, LABELS)), expected, rtol=1e-5)


def test_cost_is_averaged_over_the_minibatch():
    twice = cost(MODEL, (jnp.tile(X, (3, 1)), jnp.tile(LABELS, 3)))
    np.testing.assert_allclose(twice, cost(MODEL), rtol=1e-6)


def test_cost_and_gradients_are_finite_if_everything_saturates():
    top = Layer(jnp.zeros((HIDDEN[-1], 2)), jnp.array([1e4, -1e4], jnp.float32))
    hidden = tuple(Layer(1e6 * layer.W, layer.b) for layer in MODEL.hidden)
    labels = jnp.arange(N, dtype=jnp.int32) % 2
    value, gradients = cost(Classifier(hidden, top), (X, labels), of=GRADED)
    # the 4 of 9 images whose class has probability 0 cost 20,000 nats each
    np.testing.assert_allclose(value, 4 / 9 * 2e4, rtol=1e-6)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    np.testing.assert_allclose(gradients.top.b, [4 / 9, -4 / 9], rtol=1e-6)


def test_compiled_equals_eager():
    np.testing.assert_allclose(cost(MODEL), cost(MODEL, of=stacked.cost), rtol=1e-6)


def test_the_cost_is_that_of_the_logits():
    a = np.asarray(stacked.logits(MODEL, X), float)
    log_p = a - np.log(np.exp(a).sum(1, keepdims=True))
    expected = -log_p[np.arange(N), LABELS].mean()
    np.testing.assert_allclose(cost(MODEL), expected, rtol=1e-6)


def test_the_cost_takes_the_activation_of_the_logits():
    log_p = jax.nn.log_softmax(stacked.logits(MODEL, X, jax.nn.relu))
    expected = -np.asarray(log_p)[np.arange(N), LABELS].mean()
    value = cost(MODEL, of=partial(stacked.cost, activation=jax.nn.relu))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert abs(value - cost(MODEL)) > 1e-3


def test_input_weights_are_the_product_of_all_matrices():
    W = np.linalg.multi_dot([np.asarray(layer.W, float) for layer in MODEL.hidden])
    # sums of ten and again ten terms that may cancel
    np.testing.assert_allclose(stacked.input_weights(MODEL.hidden), W, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(stacked.input_weights(MODEL.hidden[:1]), MODEL.hidden[0].W)


# ---- dropout --------------------------------------------------------------------------------

# equal widths, so that equal masks would be noticed
SQUARE = Classifier((random_layer(V, V), random_layer(V, V)), random_layer(V, K))
DROPOUT = (jnp.float32(0.2), jnp.float32(0.5))


@pytest.fixture
def drawn(monkeypatch):
    """The (level, inputs, outputs) of each call of `corruption.drop`."""
    calls = []
    real = corruption.drop

    def spy(key, y, level):
        dropped = real(key, y, level)
        calls.append((float(level), np.asarray(y), np.asarray(dropped)))
        return dropped

    monkeypatch.setattr(corruption, "drop", spy)
    return calls


@pytest.mark.slow
def test_with_dropout_the_cost_is_that_of_the_network_without_the_dropped_units(drawn, monkeypatch):
    value = cost(SQUARE, draw=key(2), of=stacked.cost, dropout=DROPOUT)
    assert [round(level, 6) for level, *_ in drawn] == [0.2, 0.5, 0.5]
    masks = [dropped / y for _, y, dropped in drawn]
    for (level, *_), mask in zip(drawn, masks, strict=True):
        assert set(mask.ravel().round(5)) == {0, np.float32(1 / (1 - level)).round(5)}
    expected, expected_gradients = oracle(SQUARE, X, LABELS, masks)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    monkeypatch.undo()
    # the same key draws the same masks: the gradient passes through the units kept, and no other
    compiled, gradients = cost(SQUARE, draw=key(2), of=GRADED, dropout=DROPOUT)
    np.testing.assert_allclose(compiled, expected, rtol=1e-5)
    assert_close(gradients, expected_gradients)


def test_masks_differ_between_layers_images_and_keys(drawn):
    for seed in (3, 4):
        cost(SQUARE, draw=key(seed), of=stacked.cost, dropout=DROPOUT)
    masks = [tuple(np.ravel(dropped != 0)) for _, _, dropped in drawn]
    assert len(masks) == len(set(masks)) == 6
    # of 36 masks of 12 hidden units, two are alike once in a good hundred times
    rows = {tuple(row) for level, _, dropped in drawn if level == 0.5 for row in dropped != 0}
    assert len(rows) >= 34


def test_dropout_at_rate_0_changes_nothing():
    none = (jnp.float32(0), jnp.float32(0))
    without = cost(SQUARE, of=GRADED)
    with_none = cost(SQUARE, draw=key(5), of=GRADED, dropout=none)
    # the same numbers; two programs may add them up in another order
    np.testing.assert_allclose(with_none[0], without[0], rtol=1e-6)
    assert_close(with_none[1], without[1])


def test_without_layers_the_inputs_are_dropped_at_the_inputs_rate(drawn):
    cost(Classifier((), random_layer(V, K)), of=stacked.cost, dropout=DROPOUT)
    assert [round(level, 6) for level, *_ in drawn] == [0.2]
