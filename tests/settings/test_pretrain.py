"""Settings of ``pretrain``: layers, presets, defaults that depend on the data, checks."""

from dataclasses import replace

import pytest

from dae_jax import training
from dae_jax.settings import pretrain, shared
from dae_jax.settings.pretrain import PRESETS, Pretraining, Settings, Stack
from helpers import refused


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_run(name):
    preset = PRESETS[name]
    assert preset.preset == name
    preset.check()
    training.optimiser(preset.finetuning.finetune_optimizer, 0.1)


def test_the_tutorials_preset_is_the_tutorials():
    preset = PRESETS["tutorial"]
    assert preset.stack == Stack((1000, 1000, 1000), "tutorial")
    resolved = preset.resolved("mnist", 50_000)
    assert [resolved.layer(k).corruption for k in range(3)] == [0.1, 0.2, 0.3]
    assert preset.running.seed == 89677
    assert pretrain.default_epochs("mnist", 50_000, 20) == 15
    # The tutorial's rates of .001 and .1 are for single images, whose cost is not divided by 20.
    for k in range(3):
        layer = resolved.layer(k)
        assert (layer.pretrain_epochs, layer.batch_size, layer.shuffle) == (15, 20, False)
        assert layer.pretrain_learning_rate == pytest.approx(0.001 * layer.batch_size)
    tuning = resolved.finetuning
    assert tuning.finetune_learning_rate == pytest.approx(0.1 * tuning.finetune_batch_size)
    assert (tuning.finetune_epochs, tuning.finetune_optimizer) == (1000, "sgd")
    assert (tuning.weight_decay, tuning.dropout, tuning.shift) == (0, (0, 0), 0)
    assert tuning.learning_rate_decay == 1 and not tuning.finetune_shuffle


def test_the_default_is_the_preset_whose_name_says_that_its_rate_is_large():
    assert Settings() == PRESETS["large-rate"] and next(iter(PRESETS)) == "large-rate"
    usual, tutorial = PRESETS["large-rate"], PRESETS["tutorial"]
    for k in range(3):
        large, small = (one.resolved("mnist", 50_000).layer(k) for one in (usual, tutorial))
        assert large == replace(small, pretrain_learning_rate=0.1)
        assert large.pretrain_learning_rate == pytest.approx(5 * small.pretrain_learning_rate)
    assert usual.finetuning == replace(tutorial.finetuning, finetune_epochs=20)


@pytest.mark.parametrize("name", ["dropout", "best"])
def test_the_other_presets_differ_in_their_fine_tuning_only(name):
    preset, usual = PRESETS[name], PRESETS["large-rate"]
    assert replace(preset, preset="large-rate", finetuning=usual.finetuning) == usual
    assert preset.finetuning != usual.finetuning


def test_the_levels_continue_with_the_last_for_layers_above_the_third():
    for hidden, levels in (
        ((9,), (0.1,)),
        ((9, 9), (0.1, 0.2)),
        ((9,) * 5, (0.1, 0.2, 0.3, 0.3, 0.3)),
    ):
        resolved = Settings(stack=Stack(hidden)).resolved("mnist", 50_000)
        assert resolved.pretraining.corruption == levels
        resolved.check()


def test_one_value_is_for_all_layers_and_several_are_one_for_each():
    settings = Settings(
        stack=Stack((9, 8)),
        pretraining=Pretraining(
            corruption=(0.5,),
            noise=("gaussian", "masking"),
            pretrain_epochs=(1, 2),
            pretrain_learning_rate=(0.25,),
            batch_size=7,
        ),
    ).resolved("digits", 100)
    first, second = (settings.layer(k) for k in (0, 1))
    assert first == pretrain.Layer(
        0.5, "gaussian", "cross-entropy", "sigmoid", 1, 0.25, batch_size=7, shuffle=False
    )
    assert (second.noise, second.pretrain_epochs) == ("masking", 2)
    assert second == replace(first, noise="masking", pretrain_epochs=2)


def test_epochs_depend_on_the_data_unless_they_are_given():
    resolved = Settings().resolved("mnist-sample", 4000)
    assert resolved.layer(0).pretrain_epochs == 94 and resolved.data.data == "mnist-sample"
    given = replace(Settings(), pretraining=Pretraining(pretrain_epochs=(0,)))
    assert given.resolved("mnist-sample", 4000).layer(2).pretrain_epochs == 0


@pytest.mark.parametrize(
    ("optimizer", "batch_size", "rate"),
    [
        *(("sgd", 1, 0.1), ("sgd", 5, 0.5), ("sgd", 20, 2.0), ("sgd", 200, 2.0)),
        *(("momentum", 20, 0.2), ("momentum", 100, 1.0), ("momentum", 500, 1.0)),
        *(("adam", 20, 0.001), ("adam", 200, 0.001), ("rmsprop", 20, 0.001)),
    ],
)
def test_the_rate_of_fine_tuning_follows_the_optimiser_and_the_minibatch(
    optimizer, batch_size, rate
):
    flags = dict(finetune_optimizer=optimizer, finetune_batch_size=batch_size)
    settings = with_finetuning(**flags)
    assert settings.finetuning.rate == pytest.approx(rate)
    # the rate that was used is written into the run's configuration
    resolved = settings.resolved("digits", 1000)
    assert resolved.finetuning.finetune_learning_rate == pytest.approx(rate)
    given = with_finetuning(**flags, finetune_learning_rate=0.25).resolved("digits", 1000)
    assert given.finetuning.finetune_learning_rate == given.finetuning.rate == 0.25


@pytest.mark.parametrize(
    ("name", "rate"), [("large-rate", 2), ("tutorial", 2), ("dropout", 1), ("best", 1)]
)
def test_the_rates_of_the_presets(name, rate):
    assert PRESETS[name].resolved("mnist", 50_000).finetuning.finetune_learning_rate == rate


def test_seeds_count_from_the_first():
    settings = replace(Settings(), running=replace(Settings().running, seed=5, seeds=3))
    assert settings.seeds == [5, 6, 7]


def with_finetuning(**values):
    return replace(Settings(), finetuning=replace(Settings().finetuning, **values))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(stack=Stack(())), ("--hidden", "got none")),
        (Settings(pretraining=Pretraining(noise=())), ("--noise", "got none")),
        (Settings(pretraining=Pretraining(corruption=(0.1, 0.2))), ("one value, or 3", "0.1 0.2")),
        (
            Settings(pretraining=Pretraining(decoder=("sigmoid", "sigmoid", "linear"))),
            ("--cost cross-entropy (layer 3)", "got linear"),
        ),
        (with_finetuning(dropout=(0.0, 1.0)), ("--dropout", "[0, 1)")),
        (with_finetuning(finetune_learning_rate=0.0), ("--finetune-learning-rate", "above 0")),
        (with_finetuning(learning_rate_decay=float("nan")), ("--learning-rate-decay",)),
        (with_finetuning(shift=1, freeze=True), ("--shift 0",)),
        (replace(Settings(), comparison=pretrain.Comparison(labels=())), ("--labels, --rates",)),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    refused(settings.check, *words)


def test_a_layer_is_how_its_da_is_trained():
    layer = Settings().resolved("mnist", 50_000).layer(1)
    assert isinstance(layer, shared.Denoising)
    assert (layer.noise, layer.cost, layer.decoder) == ("masking", "cross-entropy", "sigmoid")
