"""Model cards: the images that a model takes, its equations, and how it was trained."""

import hashlib
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dae_jax import autoencoder, stacked
from dae_jax.datasets import Dataset, Split
from dae_jax.runs import cards
from dae_jax.runs.run import fingerprint
from dae_jax.settings import ladder, pretrain, shared, train
from dae_jax.settings.shared import Denoising
from helpers import refused
from trained_models import floats_card

PIXELS = np.random.default_rng(0).integers(0, 200, (9, 12), np.uint8)
PART = Split(PIXELS, np.arange(9, dtype=np.int32) % 3)
DATA = Dataset("toy", "here", PART, PART, PART, (3, 4), None)
HOW = Denoising(0.3, "masking", "cross-entropy", "sigmoid")


def test_the_card_says_which_images_the_model_takes_and_how_it_was_trained():
    settings = pretrain.Settings().resolved("toy", 9)
    card = cards.card("classifier", DATA, settings, 7)
    in_grey = replace(settings, data=replace(settings.data, grey=True))
    assert cards.card("classifier", DATA, in_grey, 7).grey and not card.grey
    assert (card.kind, card.data, card.image_shape, card.pixels) == (
        "classifier",
        "toy",
        (3, 4),
        12,
    )
    assert card.integer_pixels and card.range == (PIXELS.min(), PIXELS.max())
    assert card.class_names == ("0", "1", "2") and card.seed == 7
    assert card.source == Path("toy") and "output" not in card.config
    assert "denoising" not in card.to_json()
    named = cards.card("classifier", DATA._replace(class_names=("a", "b", "c")), settings, 7)
    assert named.class_names == ("a", "b", "c")
    dA = cards.card("autoencoder", DATA, train.Settings(), 7, HOW)
    assert dA.class_names is None and dA.denoising == vars(HOW)
    above = cards.above_codes(dA, 5)
    assert (above.pixels, above.image_shape, above.limits) == (
        5,
        None,
        {
            "integer": (0, 1),
            "float": (0, 1),
        },
    )


def test_a_card_of_a_layer_does_not_depend_on_the_fine_tuning_after_it():
    short = pretrain.Settings()
    long = replace(short, finetuning=replace(short.finetuning, finetune_epochs=99))
    layers = [cards.card("autoencoder", DATA, settings, 7, HOW) for settings in (short, long)]
    assert layers[0] == layers[1]
    models = [cards.card("classifier", DATA, settings, 7) for settings in (short, long)]
    assert models[0] != models[1]


def test_the_limits_of_pixels_are_those_of_training_or_of_the_decoder():
    card = floats_card(range=(-3.0, 2.0))
    assert card.limits == {"float": (-3, 2)}
    assert replace(card, integer_pixels=True).limits == {"integer": (-3, 255)}
    assert replace(card, integer_pixels=True, range=(9.0, 300.0)).limits == {"integer": (0, 300)}
    dA = replace(card, kind="autoencoder", denoising=vars(HOW))
    assert dA.limits == {"integer": (0, 255), "float": (0, 1)}
    linear = replace(dA, denoising=vars(HOW) | {"decoder": "linear"})
    assert linear.limits == dict.fromkeys(("integer", "float"), (-np.inf, np.inf))


def test_the_fingerprint_is_that_of_the_bytes_of_all_training_images():
    assert fingerprint(DATA) == hashlib.sha256(PIXELS.tobytes()).hexdigest()
    turned = PART._replace(images=np.asfortranarray(PIXELS))
    assert fingerprint(DATA._replace(train=turned)) == cards.fingerprint(DATA)
    both = hashlib.sha256(PIXELS.tobytes() + PIXELS[:4].tobytes()).hexdigest()
    assert fingerprint(DATA._replace(unlabelled=PIXELS[:4])) == both
    card = cards.card("classifier", DATA, pretrain.Settings(), 7)
    assert card.data_sha256 == fingerprint(DATA)


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        (train.Settings, "--data 'my images' --untied --corruption 0 0.3 --run-dir r --seeds 2"),
        (pretrain.Settings, "--preset best --data x.npz --hidden 9 8 --shift 0 --image-size 8 6"),
        (pretrain.Settings, "--hidden 9 --freeze --finetune-learning-rate 1e-05 --resume"),
        (ladder.Settings, "--preset few-labels --data x.npz --labels 30 --grey"),
    ],
)
def test_the_command_makes_the_same_settings_wherever_they_are_written(kind, flags):
    def parsed(words):
        preset = shared.parse(kind, words).preset if kind is pretrain.Settings else None
        return shared.parse(kind, words, default=pretrain.PRESETS.get(preset))

    settings = parsed(shlex.split(flags)).resolved("toy", 9)
    command = cards.card("classifier", DATA, settings, 7).command
    *start, program = shlex.split(kind.prog)
    words = shlex.split(command)
    assert words[:3] == [*start, program] and "--run-dir" not in words and "--resume" not in words
    assert parsed(words[3:]).resolved("toy", 9) == replace(settings, output=kind().output)


def test_the_equations_name_tensors_sizes_scale_activation_and_output():
    layers = stacked.init_tutorial(1, 12, [5, 4])
    settings = pretrain.Settings()
    card = replace(cards.card("classifier", DATA, settings, 7), activation="relu")
    assert cards.architecture(stacked.classifier(layers, 12, 3), card) == [
        "x = images (n, 12) as float32, divided by 255 if they are integers",
        "images are 3 x 4, row by row; files are read in Pillow's mode L and resized to 3 x 4 by "
        "its BOX filter",
        "y1 = relu(x @ hidden.0.W + hidden.0.b), (n, 5)",
        "y2 = relu(y1 @ hidden.1.W + hidden.1.b), (n, 4)",
        "probabilities = softmax(y2 @ top.W + top.b), (n, 3)",
        "each W is (inputs, outputs)",
    ]
    card = cards.card("autoencoder", DATA, train.Settings(), 7, HOW)
    _, _, y, z, _ = cards.architecture(layers[0], card)
    assert y == "y = sigmoid(x @ W + b), (n, 5)"
    assert z == "z = sigmoid(y @ W.T + b_prime), (n, 12)"
    untied = autoencoder.init_tutorial(1, 12, 5, tied=False)
    linear = replace(card, denoising=vars(HOW) | {"decoder": "linear"}, image_shape=None)
    _, _, z, _ = cards.architecture(untied, linear)
    assert z == "z = y @ W_prime + b_prime, (n, 12)"


def test_images_of_another_size_or_range_are_refused():
    card = floats_card(image_shape=(2, 3), pixels=6)
    for n, shape in ((6, (2, 3)), (6, None)):
        card.check_shape("x", n, shape, "")
    for n, shape, got in ((6, (3, 2), "got 3 x 2"), (7, None, "got 7 values")):
        words = "x: expected 2 x 3, as in training", got, "; turn them"
        refused(lambda n=n, shape=shape: card.check_shape("x", n, shape, "turn them"), *words)
    card.check_values("x", np.array([-0.1, 1.1]))
    refused(lambda: card.check_values("x", np.array([0, 1.11])), "got floats in 0 to 1.11")
