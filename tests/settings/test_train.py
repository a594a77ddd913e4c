"""Settings of ``train``: members, defaults that depend on the data, checks."""

from dataclasses import replace

import pytest

from dae_jax.settings import shared
from dae_jax.settings.train import (
    TUTORIAL_UPDATES,
    Corruption,
    Model,
    Settings,
    Training,
    default_epochs,
)
from helpers import refused


def test_there_is_one_member_per_level_and_seed():
    settings = Settings(corruption=Corruption((0.0, 0.3)), training=Training(seed=5, seeds=2))
    members = [(how.corruption, seed) for how, seed in settings.resolved("toy", 9).members]
    assert settings.n_members == len(members)
    assert members == [(0.0, 5), (0.0, 6), (0.3, 5), (0.3, 6)]
    ((how, seed),) = Settings().resolved("toy", 9).members
    assert (how.corruption, seed) == (0.3, 123)


def test_a_member_has_the_cost_of_its_level():
    settings = Settings(
        model=Model(decoder="linear"),
        corruption=Corruption((0.1, 0.2), "gaussian"),
        training=Training(cost="squared-error"),
    )
    expected = shared.Denoising(0.2, "gaussian", "squared-error", "linear")
    assert settings.members[1] == (expected, 123)


def test_mnist_gets_the_tutorials_epochs_and_other_data_about_as_many_updates():
    assert Settings().resolved("mnist", 50_000).epochs == 15
    assert default_epochs("other", 5, 20) == TUTORIAL_UPDATES  # at most one update per epoch
    for n, batch_size in ((1000, 20), (59, 1), (50_000, 20)):
        epochs = default_epochs("other", n, batch_size)
        # the nearest whole number of epochs
        assert abs(epochs * (n // batch_size) - TUTORIAL_UPDATES) <= n // batch_size / 2
    assert default_epochs("other", 10**9, 20) == 1


def test_given_settings_are_not_replaced_by_defaults():
    settings = replace(Settings(), training=Training(epochs=7), data=shared.Data("my.npz"))
    resolved = settings.resolved("my", 100)
    assert resolved.epochs == 7 and resolved.data.data == "my.npz"
    assert Settings().resolved("mnist-sample", 4000).data.data == "mnist-sample"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(corruption=Corruption(())), ("--corruption", "at least one level")),
        (Settings(corruption=Corruption((0.1, 0.1))), ("different levels", "0.1 0.1")),
        (Settings(model=Model(n_hidden=0)), ("--n-hidden",)),
        (Settings(training=Training(batch_size=0)), ("--batch-size",)),
        (Settings(training=Training(epochs=0)), ("--epochs",)),
        (Settings(training=Training(learning_rate=float("nan"))), ("--learning-rate",)),
        (
            Settings(model=Model(decoder="linear"), training=Training(cost="cross-entropy")),
            ("--cost cross-entropy", "squared-error"),
        ),
        (
            Settings(model=Model(decoder="sigmoid", standardize=True)),
            ("--standardize with --decoder sigmoid", "leave --decoder sigmoid out"),
        ),
        (
            Settings(model=Model(standardize=True), training=Training(cost="cross-entropy")),
            ("leave --cost cross-entropy out",),
        ),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    refused(settings.check, *words)


def test_the_tutorials_settings_are_the_defaults():
    settings = Settings()
    settings.check()
    settings = settings.resolved("mnist", 50_000)
    assert (settings.model.decoder, settings.training.cost) == ("sigmoid", "cross-entropy")
    assert settings.training.optimizer == "sgd"
    assert (settings.model.n_hidden, settings.training.batch_size) == (500, 20)
    assert (settings.training.learning_rate, settings.training.seed) == (0.1, 123)
    assert settings.model.tied and not settings.training.shuffle
