"""The stack against a float64 NumPy oracle, and against the dA and softmax regression it is of."""

from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dae_jax import autoencoder, stacked, training
from dae_jax.datasets import Dataset, Split
from dae_jax.runs import stack as stages
from dae_jax.runs import stage as runs
from dae_jax.settings import pretrain as pretrain_config
from dae_jax.stacked import Classifier, Layer
from helpers import refused

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


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def oracle(model, x, labels, masks=None):
    """Cost and gradients by hand, in float64; `masks` holds what each layer's inputs are times."""
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


# ---- how it begins --------------------------------------------------------------------------


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


def test_jaxs_layers_have_their_sizes_and_ranges_and_draws_of_their_own():
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
def test_a_fresh_classifier_knows_nothing_and_costs_log_k(n_classes):
    model = stacked.classifier(stacked.init_tutorial(1, V, HIDDEN), V, n_classes)
    labels = LABELS % n_classes
    np.testing.assert_allclose(cost(model, (X, labels)), np.log(n_classes), rtol=1e-6)


# ---- what it computes -----------------------------------------------------------------------


def test_codes_are_the_encoders_own_one_after_another():
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
    """To fine-tune the softmax layer alone is a known mistake."""
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


def test_cost_and_gradients_are_finite_where_everything_saturates():
    top = Layer(jnp.zeros((HIDDEN[-1], 2)), jnp.array([1e4, -1e4], jnp.float32))
    hidden = tuple(Layer(1e6 * layer.W, layer.b) for layer in MODEL.hidden)
    labels = jnp.arange(N, dtype=jnp.int32) % 2
    value, gradients = cost(Classifier(hidden, top), (X, labels), of=GRADED)
    # the 4 of 9 images whose class is called impossible cost 20,000 nats each
    np.testing.assert_allclose(value, 4 / 9 * 2e4, rtol=1e-6)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    np.testing.assert_allclose(gradients.top.b, [4 / 9, -4 / 9], rtol=1e-6)


def test_compiled_equals_eager():
    np.testing.assert_allclose(cost(MODEL), cost(MODEL, of=stacked.cost), rtol=1e-6)


def test_logits_are_those_whose_cost_is_taken():
    a = np.asarray(stacked.logits(MODEL, X), float)
    log_p = a - np.log(np.exp(a).sum(1, keepdims=True))
    expected = -log_p[np.arange(N), LABELS].mean()
    np.testing.assert_allclose(cost(MODEL), expected, rtol=1e-6)


def test_input_weights_are_the_product_of_all_matrices():
    W = np.linalg.multi_dot([np.asarray(layer.W, float) for layer in MODEL.hidden])
    # sums of ten and again ten terms that may cancel
    np.testing.assert_allclose(stacked.input_weights(MODEL.hidden), W, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(stacked.input_weights(MODEL.hidden[:1]), MODEL.hidden[0].W)


# ---- dropout --------------------------------------------------------------------------------

# equal widths, so that equal masks could be told
SQUARE = Classifier((random_layer(V, V), random_layer(V, V)), random_layer(V, K))
DROPOUT = (jnp.float32(0.2), jnp.float32(0.5))


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9])
def test_dropout_leaves_out_at_its_rate_and_keeps_the_mean(q):
    n = 100_000
    y = np.asarray(stacked.drop(key(1), jnp.full(n, 2.0), jnp.float32(q)))
    # 5 standard deviations of a binomial share
    assert abs((y == 0).mean() - q) < 5 * np.sqrt(q * (1 - q) / n)
    np.testing.assert_allclose(y[y != 0], 2 / (1 - q), rtol=1e-6)
    assert abs(y.mean() - 2) < 5 * 2 * np.sqrt(q / (1 - q) / n)


@pytest.fixture
def drawn(monkeypatch):
    """What each call of `stacked.drop` was asked for and gave: (level, inputs, outputs)."""
    calls = []
    real = stacked.drop

    def spy(key, y, level):
        dropped = real(key, y, level)
        calls.append((float(level), np.asarray(y), np.asarray(dropped)))
        return dropped

    monkeypatch.setattr(stacked, "drop", spy)
    return calls


def test_with_dropout_the_cost_is_that_of_the_thinned_network(drawn, monkeypatch):
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


def test_dropout_of_nothing_is_no_dropout():
    none = (jnp.float32(0), jnp.float32(0))
    without = cost(SQUARE, of=GRADED)
    with_none = cost(SQUARE, draw=key(5), of=GRADED, dropout=none)
    # the same numbers; two programs may add them up in another order
    np.testing.assert_allclose(with_none[0], without[0], rtol=1e-6)
    assert_close(with_none[1], without[1])


def test_without_layers_the_inputs_are_dropped_at_the_inputs_rate(drawn):
    cost(Classifier((), random_layer(V, K)), of=stacked.cost, dropout=DROPOUT)
    assert [round(level, 6) for level, *_ in drawn] == [0.2]


# ---- stages: codes, and the stack left as it is ---------------------------------------------

PIXELS = RNG.integers(0, 256, (43, V), np.uint8)
CLASSES = np.asarray(PIXELS[:, 0] // 64, np.int32)


def a_run(folder, seeds=1, **finetuning):
    """A run of the command, as it stands when the data is loaded; nothing is held out."""
    settings = pretrain_config.Config()
    settings = replace(
        settings,
        stack=replace(settings.stack, hidden=HIDDEN),
        finetuning=replace(settings.finetuning, finetune_epochs=3, **finetuning),
        running=replace(settings.running, seeds=seeds),
    )
    empty = Split(PIXELS[:0], CLASSES[:0])
    data = Dataset("toy", "here", Split(PIXELS, CLASSES), empty, empty, None, None)
    return stages.Run(
        settings, data, images=PIXELS, instead_of_mnist=False, folder=folder, command=""
    )


def stacks(seeds):
    """A stack a seed, its leaves with the axis of members."""
    each = [stacked.init_tutorial(seed, V, HIDDEN) for seed in seeds]
    return [training.stack(layers) for layers in zip(*each, strict=True)]


def softmax_regression(x, labels, *, rate, epochs, batch):
    """By hand and in float64, from zero."""
    W, b = np.zeros((x.shape[1], K)), np.zeros(K)
    for _ in range(epochs):
        for at in range(0, len(x) // batch * batch, batch):
            part, t = x[at : at + batch], labels[at : at + batch]
            _, (_, d) = oracle(Classifier((), Layer(W, b)), part, t)
            W, b = W - rate * d.W, b - rate * d.b
    return W, b


def test_a_frozen_stack_stays_to_the_bit_under_softmax_regression_on_its_codes(tmp_path):
    run, layers = a_run(tmp_path, seeds=2), stacks([89677, 89678])
    tuned = stages.finetune(
        run, tmp_path / "f", layers, PIXELS, CLASSES, learning_rate=0.3, freeze=True
    )
    assert tuned.rule is None  # nothing is held out, so that nothing can be chosen by it
    for i, model in enumerate(tuned.models):
        own = training.member(layers, i)
        for mine, pretrained in zip(model.hidden, own, strict=True):
            np.testing.assert_array_equal(mine.W, pretrained.W)
            np.testing.assert_array_equal(mine.b, pretrained.b)
        codes = PIXELS / 255
        for layer in own:
            codes = sigmoid(codes @ np.asarray(layer.W, float) + np.asarray(layer.b, float))
        W, b = softmax_regression(codes, CLASSES, rate=0.3, epochs=3, batch=20)
        assert_close(model.top, Layer(W, b))
        assert np.abs(model.top.W).max() > 1e-3


def test_a_frozen_stacks_codes_are_dropped_as_the_hidden_units_that_they_are(tmp_path, monkeypatch):
    asked = []
    # as if stopped at once: nothing is trained
    monkeypatch.setattr(runs, "train", lambda stage, cost, *_, **__: asked.append(cost.keywords))
    run, layers = a_run(tmp_path, dropout=(0.2, 0.5)), stacks([89677])
    how = dict(learning_rate=0.3)
    for freeze in (False, True):
        assert stages.finetune(run, tmp_path, layers, PIXELS, CLASSES, freeze=freeze, **how) is None
    rates = [np.ravel(keywords["dropout"]) for keywords in asked]
    np.testing.assert_allclose(rates, [[0.2, 0.5], [0.5, 0.5]], rtol=1e-6)


def test_codes_are_each_members_own_whatever_the_chunk(monkeypatch):
    (layer, above), x = stacks([1, 2]), PIXELS / 255
    expected = [sigmoid(x @ np.asarray(W, float)) for W in layer.W]
    for chunk in (10_000, 20):
        monkeypatch.setattr(stages, "CHUNK", chunk)
        found = stages.codes(layer, PIXELS, 255.0, own_data=False)
        assert found.shape == (2, 43, HIDDEN[0]) and found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        higher = stages.codes(above, found, 255.0, own_data=True)
        further = [sigmoid(expected[i] @ np.asarray(above.W[i], float)) for i in range(2)]
        np.testing.assert_allclose(higher, further, rtol=1e-5)
