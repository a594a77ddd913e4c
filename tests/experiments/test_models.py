"""Models of experiments: trained as declared, all seeds as if alone."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dae_jax import autoencoder, deep
from dae_jax.deep import Architecture
from dae_jax.experiments.data import Images, prepare
from dae_jax.experiments.models import (
    PCA,
    Autoencoder,
    Finetuned,
    Model,
    Network,
    Recipe,
    Setup,
    Stack,
)
from helpers import refused

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


def test_each_seed_and_each_training_has_a_key_of_its_own(setup):
    keys = [str(key) for stage in range(3) for key in setup.keys(stage)]
    assert len(set(keys)) == 6


def test_a_cosine_ends_at_a_rate_of_zero():
    stage = Recipe(2, 50, "sgd", 0.5, decay="cosine").stage(100, "it")
    params, ones = jnp.zeros(3), jnp.ones(3)
    state, steps = stage.optimizer.init(params), []
    for _ in range(5):
        updates, state = stage.optimizer.update(ones, state, params)
        steps.append(float(updates[0]))
    expected = [-0.5 * (1 + math.cos(math.pi * i / 4)) / 2 for i in range(4)]
    np.testing.assert_allclose(steps, [*expected, 0], atol=1e-6)
    assert (stage.epochs, stage.batch_size, stage.shuffle) == (2, 50, True)


def test_a_batch_is_at_most_all_images():
    assert Recipe(2, 50).stage(30, "it").batch_size == 30


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


@pytest.mark.slow
@pytest.mark.parametrize("choose", [True, False])
def test_a_network_keeps_the_chosen_or_the_last_epoch(dataset, choose):
    pytest.importorskip("flax.nnx", reason="an extra: pip install '.[experiments]'")
    from dae_jax import supervised

    def module(rngs):
        return supervised.MLP((784, 10), rngs=rngs)

    setup = Setup(prepare(dataset, Images()), (1, 2))
    models = Network(module, Recipe(3, 20, "sgd", 0.5), choose=choose).train(setup, "softmax")
    valid = setup.data.valid
    for model in models:
        error = float((model.classify(valid.x) != valid.labels).mean())
        assert model.costs[-1] < model.costs[0] and len(model.valid) == 3
        if choose:
            assert error == min(model.valid) == model.valid[model.best_epoch - 1]
        else:
            assert error == model.valid[-1] and model.best_epoch is None


def test_every_kind_of_declaration_is_a_model():
    architecture = Architecture((12, 5))
    for model in (
        PCA(3),
        Autoencoder(architecture, ONE_EPOCH),
        Finetuned("it", ONE_EPOCH),
        Network(dict, ONE_EPOCH),
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
