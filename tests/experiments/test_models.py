"""Models of experiments: trained as declared, all seeds as if alone."""

import math
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dae_jax import autoencoder, deep, training
from dae_jax.deep import Architecture
from dae_jax.experiments import models
from dae_jax.experiments.data import Images, Part, prepare
from dae_jax.experiments.models import (
    PCA,
    Autoencoder,
    Chosen,
    Finetuned,
    Model,
    Network,
    Pretrained,
    Recipe,
    Setup,
    Stack,
    clipped_cross_entropy,
)
from dae_jax.runs.stage import Place
from helpers import drawn, key, refused

ONE = Autoencoder(  # as in conftest.py
    Architecture((784, 12), tied=True), Recipe(2, 20, "sgd", 0.1), level=0.3, gain=4.0
)
ONE_EPOCH = Recipe(1, 50)


def test_pca_is_numpys_and_equal_for_all_seeds(setup):
    first, second = setup.fitted["pca"]
    assert first is second
    x = setup.data.train.x.astype(np.float64)
    centred = x - x.mean(axis=0)
    components = np.linalg.svd(centred, full_matrices=False)[2][:3]
    z = centred @ components.T @ components + x.mean(axis=0)
    np.testing.assert_allclose(first.reconstruct(setup.data.train.x), z, atol=1e-3)


def test_training_lowers_the_held_out_cost_which_is_that_of_clean_images(outcome):
    model = outcome.models["deep"]
    assert len(model.costs) == len(model.valid) == 3
    assert model.valid[-1] < model.valid[0]
    x = outcome.data.valid.x
    expected = ((x - model.reconstruct(x)) ** 2).sum(axis=1).mean()
    assert model.valid[-1] == pytest.approx(expected, rel=1e-4)


def test_a_model_reconstructs_as_its_architecture_says(outcome):
    model, x = outcome.models["deep"], outcome.data.test.x[:7]
    architecture = Architecture((784, 20, 3), "elu", "linear")
    z = deep.reconstruct(model.params, x, architecture)
    np.testing.assert_allclose(model.reconstruct(x), z, rtol=1e-4, atol=1e-6)
    assert model.encode(x).shape == (7, 3)
    with pytest.raises(NotImplementedError):
        model.classify(x)


def test_fine_tuning_begins_at_the_encoder_and_learns(outcome):
    model = outcome.models["one fine-tuned"]
    test = outcome.data.test
    assert np.mean(model.classify(test.x) != test.labels) < 0.5  # .9 by chance
    W = outcome.models["one"].params.encoder[0].W
    moved = np.abs(model.params.hidden[0].W - W)
    assert 0 < moved.mean() < np.abs(W).mean() / 2


def test_the_best_epoch_is_the_one_whose_parameters_are_kept(outcome):
    model = outcome.models["one fine-tuned"]
    assert model.best_epoch in (1, 2, 3, 4)
    valid = outcome.data.valid
    error = float((model.classify(valid.x) != valid.labels).mean())
    assert error == min(model.valid) == model.valid[model.best_epoch - 1]


@pytest.mark.slow
def test_seeds_are_trained_together_as_if_alone(setup):
    (single,) = ONE.train(Setup(setup.data, (2,)), "one")
    both = setup.fitted["one"]
    np.testing.assert_array_equal(single.params.encoder[0].W, both[1].params.encoder[0].W)
    assert single.costs == both[1].costs and single.costs != both[0].costs


@pytest.mark.slow
def test_a_stack_is_pretrained_layer_by_layer_and_unrolled(dataset):
    setup = Setup(prepare(dataset, Images(with_valid=True)), (1,))
    model = Autoencoder(
        Architecture((784, 30, 10), code="linear"),
        Recipe(1, 50, decay="cosine"),
        objective="squared-error",
        after=Stack(Recipe(8, 20, "sgd"), (0.1, 0.01), level=0.1),
    )
    (fitted,) = model.train(setup, "deep")
    fresh = Autoencoder(model.architecture, model.recipe, objective="squared-error")
    (untrained,) = fresh.train(setup, "fresh")
    assert fitted.valid[0] < 0.9 * untrained.valid[0]


def test_the_number_of_epochs_can_be_given_for_all_models(setup):
    assert setup.recipe(ONE_EPOCH) is ONE_EPOCH
    assert replace(setup, epochs=7).recipe(ONE_EPOCH) == Recipe(7, 50)
    assert replace(setup, epochs=7).recipe(Recipe(None, 50, steps=9)) == Recipe(7, 50)


def test_each_training_has_a_folder_of_its_own_and_is_resumed(setup, tmp_path):
    assert setup.place("it") == Place("it", None, False, "")
    setup = replace(setup, folder=tmp_path, command="again")
    assert setup.place("AE+wd, layer 1") == Place(
        "AE+wd, layer 1", tmp_path / "ae_wd_layer_1", True, "again"
    )
    titles = ("AE", "CAE", "DAE-b", "DAE-g", "AE+wd", "0 %", "30 %", "a, layer 1", "a, layer 2")
    assert len({setup.place(title).folder for title in titles}) == len(titles)


def test_each_seed_and_each_training_has_a_key_of_its_own(setup):
    keys = [str(key) for stage in range(3) for key in setup.keys(stage)]
    assert len(set(keys)) == 6


def test_a_cosine_ends_at_a_rate_of_zero():
    stage = Recipe(2, 50, "sgd", 0.5, decay="cosine").stage(100, Place("it"))
    params, ones = jnp.zeros(3), jnp.ones(3)
    state, steps = stage.optimizer.init(params), []
    for _ in range(5):
        updates, state = stage.optimizer.update(ones, state, params)
        steps.append(float(updates[0]))
    expected = [-0.5 * (1 + math.cos(math.pi * i / 4)) / 2 for i in range(4)]
    np.testing.assert_allclose(steps, [*expected, 0], atol=1e-6)
    assert (stage.epochs, stage.batch_size, stage.shuffle) == (2, 50, True)


def test_a_cosine_over_steps_ends_with_the_last_of_them():
    stage = Recipe(None, 50, "sgd", 0.5, decay="cosine", steps=3).stage(100, Place())
    params, ones = jnp.zeros(3), jnp.ones(3)
    state, steps = stage.optimizer.init(params), []
    for _ in range(4):
        updates, state = stage.optimizer.update(ones, state, params)
        steps.append(float(updates[0]))
    expected = [-0.5 * (1 + math.cos(math.pi * i / 3)) / 2 for i in range(3)]
    np.testing.assert_allclose(steps, [*expected, 0], atol=1e-6)


def test_the_last_third_falls_after_each_epoch_to_zero():
    stage = Recipe(10, 50, "sgd", 0.5, decay="last third").stage(100, Place())
    params, ones = jnp.zeros(3), jnp.ones(3)
    state, steps = stage.optimizer.init(params), []
    for _ in range(20):
        updates, state = stage.optimizer.update(ones, state, params)
        steps.append(-float(updates[0]))
    # after epoch e > .67 E, the rate is (E - e) / (E - .67 E) of the first
    rates = [min(1, (10 - e) / 3.3) for e in range(10)]
    np.testing.assert_allclose(steps, np.repeat(rates, 2) * 0.5, rtol=1e-5)


def test_a_batch_is_at_most_all_images():
    assert Recipe(2, 50).stage(30, Place()).batch_size == 30


@pytest.mark.parametrize(
    ("recipe", "n_images", "epochs", "updates"),
    [
        (Recipe(2, 50), 120, 2, 4),
        (Recipe(None, 100, steps=1000), 55_000, 2, 1000),
        (Recipe(None, 50, steps=2000), 55_000, 2, 2000),
        (Recipe(None, 100, steps=3000), 55_000, 6, 3000),
        (Recipe(None, 100, steps=1100), 55_000, 2, 1100),
        (Recipe(None, 100, steps=5), 100, 5, 5),
        (Recipe(7, 100, steps=5), 1000, 1, 5),
    ],
)
def test_steps_count_instead_of_epochs(recipe, n_images, epochs, updates):
    stage = recipe.stage(n_images, Place())
    assert (stage.epochs, stage.updates) == (epochs, updates)


def test_a_stage_has_all_that_a_recipe_says():
    place = Place("it")
    stage = Recipe(3, 20, "sgd", 0.25, shuffle="blocks").stage(100, place, own_data=True)
    assert (stage.shuffle, stage.own_data, stage.place) == ("blocks", True, place)
    assert "0.25" in stage.learning_rate
    updates, _ = stage.optimizer.update(jnp.ones(3), stage.optimizer.init(jnp.ones(3)))
    np.testing.assert_allclose(updates, -0.25)


def first_parameters(**how):
    return Autoencoder(
        Architecture((12, 5), tied="zero_decoder" not in how), ONE_EPOCH, **how
    )._first(jax.random.key(0), 3)


def test_initial_parameters_are_as_declared():
    np.testing.assert_array_equal(
        first_parameters(tutorial_weights=True).encoder[0].W,
        autoencoder.init_tutorial(3, 12, 5).W,
    )
    assert not first_parameters(zero_decoder=True).decoder[0].W.any()
    np.testing.assert_array_equal(first_parameters(code_bias=0.5).encoder[0].b, 0.5)
    np.testing.assert_allclose(
        first_parameters(gain=4.0).encoder[0].W, 4 * first_parameters().encoder[0].W, rtol=1e-6
    )


# ---- noise -----------------------------------------------------------------------------------

IDENTITY = Architecture((784, 784), code="linear", output="linear")


def identity():
    """Parameters of a network that returns its inputs, whose squared error is that of the noise."""
    layer = deep.Layer(np.eye(784, dtype=np.float32), np.zeros(784, np.float32))
    return deep.Untied((layer,), (layer,))


def identity_cost(noise, **how):
    model = Autoencoder(IDENTITY, ONE_EPOCH, "squared-error", noise, **how)
    return jax.jit(model.cost(255.0))


def test_shared_noise_is_one_vector_for_all_images_of_a_minibatch():
    images = np.random.default_rng(0).integers(0, 256, (40, 784), np.uint8)
    cost = identity_cost("shared", level=0.5)
    each = [float(cost(identity(), images[i : i + 1], key(3))) for i in range(3)]
    # 784 draws: the standard deviation of their mean square is .05 of it
    assert each[0] / 784 == pytest.approx(0.25, rel=0.2)
    # the noise of one image, whichever it is, and the mean over images is the same
    assert each[1:] == pytest.approx(each[:1] * 2, rel=1e-4)
    assert float(cost(identity(), images, key(3))) == pytest.approx(each[0], rel=1e-4)
    others = [float(cost(identity(), images, key(seed))) for seed in (4, 5)]
    assert len({*others, each[0]}) == 3
    # which it would not be, were it drawn for each image
    own = identity_cost("gaussian", level=0.5)
    first, all_ = (float(own(identity(), images[:n], key(3))) for n in (1, 40))
    assert abs(first - all_) > 0.01 * all_


def test_shared_noise_is_added_to_the_inputs_and_not_to_the_targets():
    architecture = Architecture((784, 5), code="softplus", output="linear")
    params = drawn(lambda: deep.init(jax.random.key(0), architecture))
    images = np.random.default_rng(0).integers(0, 256, (7, 784), np.uint8)
    model = Autoencoder(architecture, ONE_EPOCH, "squared-error", "shared", level=0.5)
    # the noise is what an identity adds to black images
    black = np.zeros((1, 784), np.uint8)
    gradient = jax.grad(identity_cost("shared", level=0.5))(identity(), black, key(3))
    noise = np.asarray(gradient.decoder[0].b, np.float64) / 2
    x = images / 255.0
    (W, b), (V, c) = (
        (np.asarray(W, np.float64), np.asarray(b, np.float64))
        for W, b in (params.encoder[0], params.decoder[0])
    )
    z = np.logaddexp(0, (x + noise) @ W + b) @ V + c
    expected = np.square(z - x).sum(axis=1).mean()
    assert float(jax.jit(model.cost(255.0))(params, images, key(3))) == pytest.approx(expected)


def test_without_a_level_nothing_is_shared():
    images = np.random.default_rng(0).integers(0, 256, (7, 784), np.uint8)
    assert identity_cost("shared")(identity(), images, key(3)) == 0


FIXED = Autoencoder(Architecture((784, 4)), Recipe(2, 50), noise="fixed", level=0.4)


def test_fixed_noise_is_clipped_and_each_seed_has_its_own(setup):
    noisy, clean = FIXED._noisy(setup)
    x = setup.data.train.x
    assert noisy.shape == clean.shape == (2, 400, 784)
    np.testing.assert_array_equal(clean, [setup.data.images] * 2)
    assert noisy.min() == 0 and noisy.max() == 1
    assert (noisy[0] != noisy[1]).mean() > 0.4
    for one in noisy:
        # below 0 half of the time, and above 1 if the noise exceeds 2.5 standard deviations
        dark = one[x == 0]
        for share, expected in (((dark == 0).mean(), 0.5), ((dark == 1).mean(), 0.00621)):
            assert share == pytest.approx(expected, abs=5 * np.sqrt(expected / dark.size))
        grey = one[(x > 0.45) & (x < 0.55)]
        assert np.median(grey) == pytest.approx(0.5, abs=0.05)
    again, _ = FIXED._noisy(setup)
    np.testing.assert_array_equal(noisy, again)
    np.testing.assert_array_equal(replace(FIXED, level=None)._noisy(setup)[0], [x, x])


def test_fixed_noise_that_is_not_clipped_has_its_level(setup):
    grey = np.full_like(setup.data.train.x, 0.5)
    middle = replace(setup, data=replace(setup.data, train=Part(grey, setup.data.train.labels)))
    noisy, _ = replace(FIXED, level=0.05)._noisy(middle)
    # ten standard deviations away from both ends; a share of 2e-3 is 5 sigma of 313,600 draws
    assert np.std(noisy[0]) == pytest.approx(0.05, rel=7e-3)
    assert np.mean(noisy[0]) == pytest.approx(0.5, abs=5 * 0.05 / np.sqrt(noisy[0].size))


def test_fixed_noise_is_the_same_in_every_epoch(setup, monkeypatch):
    given = {}
    real = training.fit

    def fit(cost, state, data, keys, **how):
        given.update(cost=cost, data=data, state=jax.device_get(state), **how)
        return real(cost, state, data, keys, **how)

    monkeypatch.setattr(training, "fit", fit)
    fitted = FIXED.train(setup, "fixed")
    noisy, clean = FIXED._noisy(setup)
    for mine, expected in zip(given["data"], (noisy, clean), strict=True):
        np.testing.assert_array_equal(mine, expected)
    assert given["own_data"] is True
    # No noise is drawn in training: another key changes nothing.
    cost, params = (training.member(given[part], 0) for part in ("cost", "state"))
    batch = (noisy[0][:50], clean[0][:50])
    values = [float(jax.jit(cost)(params.params, batch, key(seed))) for seed in (1, 2)]
    assert values[0] == values[1]
    unclean = float(jax.jit(cost)(params.params, (clean[0][:50], clean[0][:50]), key()))
    assert values[0] != unclean
    # held-out images are clean
    x = setup.data.valid.x
    z = np.clip(fitted[0].reconstruct(x).astype(np.float64), 1e-12, 1 - 1e-12)
    expected = -(x * np.log(z) + (1 - x) * np.log(1 - z)).sum(axis=1).mean()
    assert fitted[0].valid[-1] == pytest.approx(expected, rel=1e-4)


# ---- the clipped cross-entropy ---------------------------------------------------------------

CLIPPED = Architecture((12, 5), hidden="relu", code="relu")


def clipped(params, x, **terms):
    return clipped_cross_entropy(
        params, x, jax.random.key(0), architecture=CLIPPED, pixel_scale=jnp.float32(1), **terms
    )


def clipped_case():
    """Parameters, of which half of the outputs are far beyond the clip, and standardised images."""
    params = drawn(lambda: deep.init(jax.random.key(0), CLIPPED))
    W, _ = params.decoder[0]
    c = np.array([40, -40, 20, -20, 0, 0, 1, -1, 2, -2, 60, -60], np.float32)
    params = params._replace(decoder=(deep.Layer(W / 20, c),))
    x = np.random.default_rng(1).normal(size=(7, 12)).astype(np.float32)
    return params, x


def outputs(params, x):
    """The logits and the code, in NumPy's double precision."""
    (W, b), (V, c) = (map(np.float64, layer) for layer in (*params.encoder, *params.decoder))
    h = np.maximum(x @ W + b, 0)
    return h @ V + c, h


def test_the_clipped_cross_entropy_is_that_of_clipped_probabilities():
    params, x = clipped_case()
    a, h = outputs(params, x)
    p = np.clip(1 / (1 + np.exp(-a)), 1e-7, 1 - 1e-7)
    expected = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=1).mean()
    assert ((p == 1e-7) | (p == 1 - 1e-7)).mean() == 0.5
    np.testing.assert_allclose(jax.jit(clipped)(params, x), expected, rtol=1e-5)
    with_l1 = jax.jit(clipped)(params, x, l1=jnp.float32(0.3))
    np.testing.assert_allclose(with_l1, expected + 0.3 * np.abs(h).sum(axis=1).mean(), rtol=1e-5)


def test_the_clipped_cross_entropy_has_no_gradient_where_it_is_clipped():
    params, x = clipped_case()
    a, _ = outputs(params, x)
    furthest = np.log((1 - 1e-7) / 1e-7)
    assert furthest == pytest.approx(models.FURTHEST)
    inside = np.abs(a) < furthest
    assert inside.mean() == 0.5
    gradient = jax.jit(jax.grad(clipped))(params, x).decoder[0].b
    # of the cross-entropy of a sigmoid: p - x
    expected = np.where(inside, 1 / (1 + np.exp(-a)) - x, 0).mean(axis=0)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(gradient)[[0, 1, 2, 3, 10, 11]], 0)


def test_the_clipped_cross_entropy_is_the_usual_one_of_images_in_the_unit_interval():
    params = drawn(lambda: deep.init(jax.random.key(0), CLIPPED))
    images = np.random.default_rng(1).integers(0, 256, (7, 12), np.uint8)
    how = dict(architecture=CLIPPED, pixel_scale=jnp.float32(255))
    compiled = jax.jit(partial(clipped_cross_entropy, **how))
    mine = compiled(params, images, jax.random.key(0))
    usual = jax.jit(partial(deep.cost, **how))(params, images, jax.random.key(0))
    np.testing.assert_allclose(mine, usual, rtol=1e-5)
    noisy = [float(compiled(params, images, key(s), level=jnp.float32(0.5))) for s in (1, 2)]
    assert len({*noisy, float(mine)}) == 3


@pytest.mark.slow
def test_a_model_can_be_trained_with_the_clipped_cross_entropy(dataset):
    setup = Setup(prepare(dataset, Images("standardised")), (1,))
    how = dict(hidden="relu", code="relu")
    model = Autoencoder(Architecture((784, 5), **how), Recipe(2, 20), clipped=True, l1=0.1)
    (fitted,) = model.train(setup, "it")
    assert fitted.costs[1] < fitted.costs[0]
    # the held-out cost has no penalty
    x = setup.data.valid.x.astype(np.float64)
    p = np.clip(fitted.reconstruct(setup.data.valid.x).astype(np.float64), 1e-7, 1 - 1e-7)
    expected = -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum(axis=1).mean()
    assert fitted.valid[-1] == pytest.approx(expected, rel=1e-3)


# ---- early stopping, and a picture of every epoch --------------------------------------------


def patient(errors, patience):
    """The tutorial's rule, with epochs for minibatches: the best epoch, and the last."""
    best, best_epoch = math.inf, 0
    for epoch, error in enumerate(errors, 1):
        if error < best:
            if error < 0.995 * best:
                patience = max(patience, 2 * (epoch - 1))
            best, best_epoch = error, epoch
        if patience <= epoch - 1:
            return best_epoch, epoch
    return best_epoch, len(errors)


@pytest.mark.slow
def test_an_autoencoder_may_stop_by_its_held_out_cost_and_keeps_the_best(setup):
    # at this rate, the cost of 400 images is best after a few epochs
    how = dict(code="relu", hidden="relu")
    model = Autoencoder(Architecture((784, 300), **how), Recipe(40, 20, "adam", 0.01), patience=4)
    for fitted in model.train(setup, "patient"):
        best_epoch, last = patient(fitted.valid, 4)
        assert best_epoch < len(fitted.valid) < 40  # as long as the more patient of both seeds
        assert len(fitted.valid) >= last
        clean = fitted.reconstruct(setup.data.valid.x).astype(np.float64)
        x, z = setup.data.valid.x, np.clip(clean, 1e-12, 1 - 1e-12)
        kept = -(x * np.log(z) + (1 - x) * np.log(1 - z)).sum(axis=1).mean()
        assert kept == pytest.approx(fitted.valid[best_epoch - 1], rel=1e-3)
        assert kept < fitted.valid[-1]


def test_a_model_of_the_first_seed_is_shown_after_each_epoch(setup):
    shown = []
    x = setup.data.test.x[:5]

    def show(name, epoch, fitted):
        shown.append((name, epoch, fitted.reconstruct(x)))

    fitted = ONE.train(replace(setup, each_epoch=show), "one")
    assert [row[:2] for row in shown] == [("one", 1), ("one", 2)]
    np.testing.assert_array_equal(shown[-1][2], fitted[0].reconstruct(x))
    assert (shown[0][2] != shown[1][2]).any()
    # and nothing changes by it
    expected = setup.fitted["one"][0]
    assert fitted[0].costs == expected.costs
    np.testing.assert_array_equal(fitted[0].params.encoder[0].W, expected.params.encoder[0].W)


# ---- networks --------------------------------------------------------------------------------


def softmax(seed):
    pytest.importorskip("flax.nnx", reason="an extra: pip install '.[experiments]'")
    from flax import nnx

    from dae_jax import supervised

    return supervised.MLP((784, 10), rngs=nnx.Rngs(seed))


@pytest.mark.slow
@pytest.mark.parametrize("choose", [True, False])
def test_a_network_keeps_the_chosen_or_the_last_epoch(dataset, choose):
    setup = Setup(prepare(dataset, Images()), (1, 2))
    network = Network(softmax, Recipe(3, 20, "sgd", 0.5), choose=choose)
    valid = setup.data.valid
    for model in network.train(setup, "softmax"):
        error = float((model.classify(valid.x) != valid.labels).mean())
        assert model.costs[-1] < model.costs[0] and len(model.valid) == 3
        if choose:
            assert error == min(model.valid) == model.valid[model.best_epoch - 1]
        else:
            assert error == model.valid[-1] and model.best_epoch is None


@pytest.mark.slow
def test_a_network_stops_when_its_patience_is_used_up(dataset):
    """The tutorial's loop over minibatches; 20 per epoch here."""
    setup = Setup(prepare(dataset, Images()), (1,))
    recipe = Recipe(60, 20, "sgd", 0.05, shuffle=False)
    (model,) = Network(softmax, recipe, patience=100).train(setup, "softmax")
    patience, best, minibatch = 100, math.inf, -1
    for epoch, error in enumerate(model.valid, 1):
        minibatch += 20
        if error < best:
            if error < 0.995 * best:
                patience = max(patience, 2 * minibatch)
            best, best_epoch = error, epoch
    # the next look would be in minibatch + 20, and the patience ends before
    assert minibatch < patience <= minibatch + 19
    assert len(model.valid) < 60 and model.best_epoch == best_epoch
    assert len(Network(softmax, recipe).train(setup, "softmax")[0].valid) == 60


@pytest.mark.slow
def test_a_network_takes_so_many_steps_and_no_more(dataset):
    setup = Setup(prepare(dataset, Images()), (1,))

    def after(**how):
        (model,) = Network(softmax, Recipe(None, 20, "sgd", 0.5, **how), choose=False).train(
            setup, "softmax"
        )
        return model, model.params["top"]["bias"][...]

    both = dict(shuffle=False)
    whole, b = after(steps=20, **both)
    cut, c = after(steps=25, **both)
    assert len(whole.costs) == 1 and len(cut.costs) == 2 and cut.costs[0] == whole.costs[0]
    # five more steps by hand, from the softmax regression of the first epoch
    W, b = np.array(whole.params["top"]["kernel"][...], np.float64), np.array(b, np.float64)
    x, labels = setup.data.train
    for i in range(5):
        rows = slice(20 * i, 20 * i + 20)
        a = x[rows] @ W + b
        p = np.exp(a - a.max(axis=1, keepdims=True))
        error = p / p.sum(axis=1, keepdims=True) - np.eye(10)[labels[rows]]
        W, b = W - 0.5 * x[rows].T @ error / 20, b - 0.5 * error.mean(axis=0)
    np.testing.assert_allclose(c, b, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_the_module_of_a_network_is_made_for_each_seed(dataset):
    pytest.importorskip("flax.nnx", reason="an extra: pip install '.[experiments]'")
    from dae_jax import supervised

    made = []

    def module(seed):
        made.append(seed)
        return supervised.tutorial_mlp(seed, 784, 6, 10)

    setup = Setup(prepare(dataset, Images()), (5, 9))
    still = Network(module, Recipe(1, 20, "sgd", 1e-12), weight_decay=0.1)
    for seed, model in zip((5, 9), still.train(setup, "it"), strict=True):
        W = supervised.tutorial_mlp(seed, 784, 6, 10).hidden[0].kernel[...]
        np.testing.assert_allclose(model.params["hidden"][0]["kernel"][...], W, atol=1e-6)
        # log 10 of a network that knows nothing, and the penalty
        expected = math.log(10) + 0.05 * np.square(W).sum()
        assert model.costs[0] == pytest.approx(expected, rel=1e-3)
    assert made == [5, 9]


@pytest.mark.slow
def test_a_network_may_take_its_minibatches_in_parts(dataset):
    setup = Setup(prepare(dataset, Images()), (1,))
    whole = Network(softmax, Recipe(3, 20, "sgd", 0.5), weight_decay=0.1)
    (expected,) = whole.train(setup, "whole")
    for size in (1, 5, 20):
        (fitted,) = replace(whole, part=size).train(setup, "parts")
        np.testing.assert_allclose(fitted.costs, expected.costs, rtol=1e-4)
        W, V = (one.params["top"]["kernel"][...] for one in (fitted, expected))
        np.testing.assert_allclose(W, V, rtol=1e-3, atol=1e-5)
    # a data set smaller than a minibatch is not divided
    large = replace(whole, recipe=Recipe(1, 500, "sgd", 0.5), part=25)
    assert len(large.train(setup, "it")[0].costs) == 1


# ---- the best of several ---------------------------------------------------------------------

GRID = Chosen(
    (replace(ONE, level=0.1), replace(ONE, level=0.5, recipe=Recipe(1, 20, "sgd", 0.01))),
    (Recipe(3, 20, "sgd", 0.01), Recipe(3, 20, "sgd", 1.0)),
    patience=60,
)


@pytest.fixture(scope="module")
def chosen(setup):
    with jax.numpy_dtype_promotion("standard"):
        return GRID.train(setup, "it")


@pytest.mark.slow
def test_the_pair_with_the_lowest_validation_error_is_chosen(setup, chosen):
    grid = chosen[0].candidates
    assert list(grid) == [
        "level 0.1, rates 0.1 and 0.01",
        "level 0.1, rates 0.1 and 1",
        "level 0.5, rates 0.01 and 0.01",
        "level 0.5, rates 0.01 and 1",
    ]
    assert len(set(grid.values())) > 1
    valid = setup.data.valid
    error = np.mean(chosen[0].classify(valid.x) != valid.labels)
    assert error == min(grid.values()) == min(chosen[0].valid)
    assert chosen[1].candidates == grid


@pytest.mark.slow
def test_each_seed_is_that_pair_trained_alone(setup, chosen):
    errors = list(chosen[0].candidates.values())
    i, j = divmod(errors.index(min(errors)), 2)
    for seed, model in zip(setup.seeds, chosen, strict=True):
        alone = Setup(setup.data, (seed,))
        autoencoder = GRID.autoencoders[i].train(alone, "a")
        np.testing.assert_array_equal(model.params.encoder[0].W, autoencoder[0].params.encoder[0].W)
        tuning = Finetuned("a", GRID.recipes[j], patience=60)
        (tuned,) = tuning.train(replace(alone, fitted={"a": autoencoder}), "b")
        assert (model.valid, model.best_epoch) == (tuned.valid, tuned.best_epoch)
        x = setup.data.test.x
        np.testing.assert_array_equal(model.classify(x), tuned.classify(x))
        np.testing.assert_array_equal(model.encode(x), autoencoder[0].encode(x))


@pytest.mark.slow
def test_test_images_have_no_part_in_the_choice(setup, chosen):
    dark = setup.data.test._replace(x=0 * setup.data.test.x)
    again = GRID.train(replace(setup, data=replace(setup.data, test=dark)), "it")
    assert again[0].candidates == chosen[0].candidates


@pytest.mark.slow
def test_a_single_seed_is_enough_to_choose(setup, chosen):
    (alone,) = GRID.train(replace(setup, seeds=(1,)), "it")
    assert alone.candidates == chosen[0].candidates and alone.valid == chosen[0].valid


# ---- declarations ----------------------------------------------------------------------------


def test_every_kind_of_declaration_is_a_model():
    architecture = Architecture((12, 5))
    for model in (
        PCA(3),
        Autoencoder(architecture, ONE_EPOCH),
        Finetuned("it", ONE_EPOCH),
        Network(dict, ONE_EPOCH),
        Chosen((Autoencoder(architecture, ONE_EPOCH),), (ONE_EPOCH,), 5),
    ):
        assert isinstance(model, Model) and hash(model) is not None


@pytest.mark.slow
def test_divergence_is_one_line(dataset):
    setup = Setup(prepare(dataset, Images()), (1,))
    model = Autoencoder(
        Architecture((784, 5), hidden="relu", code="relu", output="linear"),
        Recipe(3, 20, "sgd", 1e6),
        objective="squared-error",
    )
    refused(lambda: model.train(setup, "wild"), "wild", "diverged", "learning rate", "1e+06")


def test_an_objective_that_does_not_fit_the_output_is_refused(setup):
    model = Autoencoder(Architecture((784, 5), output="linear"), ONE_EPOCH)
    refused(lambda: model.train(setup, "it"), "cross-entropy", "sigmoid")


def test_a_pretrained_stack_is_unrolled_as_it_is(setup):
    architecture = Architecture((784, 6, 4))
    stack = Stack(Recipe(1, 50, "sgd", shuffle=False), (0.1, 0.1), 0.25)
    fitted = Pretrained(architecture, stack).train(setup, "whole")
    layers = stack.train(setup, "whole", architecture)
    x = setup.data.test.x[:7]
    for one, own in zip(fitted, layers, strict=True):
        expected = deep.reconstruct(deep.unroll(own), x, architecture)
        np.testing.assert_allclose(one.reconstruct(x), expected, rtol=1e-5, atol=1e-6)
        assert one.encode(x).shape == (7, 4)
