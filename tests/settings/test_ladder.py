"""Settings of ``pretrain --preset few-labels``: weights, defaults from the data, checks."""

from dataclasses import replace

import pytest

from dae_jax.settings import ladder, shared
from dae_jax.settings.ladder import Settings
from helpers import refused


def parsed(*argv):
    return shared.parse(Settings, ["--preset", "few-labels", *argv])


def test_the_defaults_are_the_authors_network_and_nearly_their_costs():
    network = parsed().network
    assert network.hidden == (1000, 500, 250, 250, 250) and network.noise == (1, 0.3)
    assert network.weights() == (1000, 100, 0.1, 0.1, 0.1, 0.1, 0.1)
    assert network.noises() == (1, *[0.3] * 6)
    training = parsed().training
    assert (training.learning_rate, training.labelled_batch_size) == (0.002, 100)
    assert parsed().resolved("pets", 10_000).batch_size == 100


@pytest.mark.parametrize(
    ("flags", "weights"),
    [
        ("5000 0", (5000, 0, 0, 0)),
        ("0 0 0 0.5", (0, 0, 0, 0.5)),
        ("2", (2, 2, 2, 2)),
    ],
    ids=["bottom", "Gamma", "all alike"],
)
def test_the_last_weight_is_that_of_all_layers_above(flags, weights):
    settings = parsed("--hidden", "20", "10", "--denoising", *flags.split())
    settings.check()
    assert settings.network.weights() == weights


def test_epochs_follow_the_number_of_images_unless_they_are_given():
    assert parsed().resolved("pets", 10_000).epochs == 75  # 7,500 updates
    few = parsed().resolved("pets", 50)  # fewer than a minibatch
    assert (few.batch_size, few.epochs) == (50, ladder.UPDATES)
    assert parsed().resolved("pets", 10**9).epochs == 1
    assert parsed("--epochs", "3").resolved("pets", 10_000).epochs == 3
    assert parsed().resolved("pets", 100).data.data == "pets"


def test_settings_survive_json():
    settings = parsed("--labels", "30", "--seeds", "2", "--shift", "1").resolved("pets", 1_000)
    assert shared.from_json(Settings, shared.to_json(settings)) == settings
    assert settings.seeds == [89677, 89678]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--hidden 10 0", "--hidden: expected a width of at least 1"),
        ("--noise -1 0", "--noise: expected two numbers of at least 0"),
        ("--noise 1 nan", "--noise: expected two numbers of at least 0"),
        ("--denoising 1 2 3 4 5 6 7 8", "--denoising: expected 1 to 7 weights"),
        ("--denoising 1 -2", "--denoising: expected weights of at least 0"),
        ("--epochs 0", "--epochs"),
        ("--learning-rate 0", "--learning-rate: expected a number above 0"),
        ("--batch-size 0", "--batch-size: expected at least 2 images"),
        ("--batch-size 1", "--batch-size: expected at least 2 images"),
        ("--labelled-batch-size 0", "--labelled-batch-size: expected at least 2 images"),
        ("--labelled-batch-size 1", "--labelled-batch-size: expected at least 2 images"),
        ("--labels 0", "--labels"),
        ("--seeds 0", "--seeds"),
        ("--seed -1", "--seed"),
        ("--resume", "--run-dir"),
        ("--image-size 0 3", "--image-size"),
    ],
)
def test_bad_values_are_refused(flags, words):
    refused(parsed(*flags.split()).check, words)


@pytest.mark.parametrize("flags", ["--freeze", "--compare", "--corruption 0.3"])
def test_flags_of_the_stack_are_refused(flags):
    refused(lambda: parsed(*flags.split()), flags.split()[0], "see python -m dae_jax.pretrain")


def test_a_width_for_every_layer_is_needed():
    network = replace(Settings().network, hidden=())
    refused(network.check, "--hidden", "got none")
