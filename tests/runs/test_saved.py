"""Saved models: parameters and card come back, older files still load, others are refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from dae_jax import autoencoder, predict, stacked, transform
from dae_jax.datasets import Dataset, Split
from dae_jax.runs import cards, saved
from dae_jax.settings import pretrain, train
from dae_jax.settings.shared import Denoising
from helpers import assert_one_line, refused
from trained_models import copy_run, floats_card, save_classifier, write_sweep, written

PIXELS = np.random.default_rng(0).integers(0, 200, (9, 12), np.uint8)
LABELS = np.arange(9, dtype=np.int32) % 3
PART = Split(PIXELS, LABELS)
DATA = Dataset("toy", "here", PART, PART, PART, (3, 4), None)
HOW = Denoising(0.3, "masking", "cross-entropy", "sigmoid")
LAYERS = stacked.init_tutorial(1, 12, [5, 4])
MODELS = {
    "tied": LAYERS[0],
    "untied": autoencoder.init_tutorial(1, 12, 5, tied=False),
    "classifier": stacked.classifier(LAYERS, 12, 3),
    "softmax": stacked.classifier([], 12, 3),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_and_its_card_come_back_and_equal_ones_are_equal_files(tmp_path, name):
    params, path = MODELS[name], tmp_path / "model.safetensors"
    if name in ("tied", "untied"):
        card = cards.card("autoencoder", DATA, train.Settings(), 7, HOW)
    else:
        card = cards.card("classifier", DATA, pretrain.Settings(), 7)
    assert saved.save(path, params, card) == path
    model = saved.load(path)
    jax.tree.map(np.testing.assert_array_equal, model.params, params)
    assert type(model.params) is type(params)
    # as JSON, whose lists were tuples in the settings
    assert json.dumps(model.card.to_json()) == json.dumps(card.to_json())
    again = saved.save(tmp_path / "elsewhere" / "again", *model)
    assert again.read_bytes() == path.read_bytes()
    if name in ("tied", "untied"):
        jax.tree.map(np.testing.assert_array_equal, saved.load_layer(path), params)
    else:
        refused(lambda: saved.load_layer(path), "expected the tensors of a dA", "a classifier")


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


# ---- runs of the commands --------------------------------------------------------------------


def test_the_files_of_a_stack_hold_all_that_using_them_takes(whole):
    model, card = saved.load(whole.run / "model.safetensors")
    assert [layer.W.shape for layer in model.hidden] == [(64, 12), (12, 8)]
    assert model.top.W.shape == (8, 3)
    assert card.class_names == ("0", "1", "2")
    assert (card.pixels, card.image_shape, card.integer_pixels) == (64, (8, 8), True)
    assert (card.pixel_scale, card.seed) == (255, 89677)
    first, second = (saved.load(whole.run / f"layer_{k}.safetensors").card for k in (1, 2))
    assert (first.pixels, first.pixel_scale, first.denoising["corruption"]) == (64, 255, 0.2)
    assert (second.pixels, second.pixel_scale, second.denoising["corruption"]) == (12, 1, 0.3)


@pytest.mark.usefixtures("models_here")
def test_a_da_without_a_card_takes_it_from_the_configuration_of_its_run():
    write_sweep()
    model, card = saved.load("sweep/corruption_30/params.safetensors")
    assert isinstance(model, autoencoder.UntiedParams)
    assert (card.kind, card.pixels, card.data) == ("autoencoder", 48, "own.npz")
    assert card.limits == {"integer": (0, 255), "float": (0, 1)} and card.image_shape is None
    shutil.copytree("sweep/corruption_0", "lonely")
    words = "config.json of its run beside it"
    refused(lambda: saved.load("lonely/params.safetensors"), words)


def compared():
    copy_run("stack", "cmp", "model.safetensors")
    settings = json.loads(Path("cmp/config.json").read_text())
    settings["comparison"]["compare"] = True
    Path("cmp/config.json").write_text(json.dumps(settings))


def unfinished_seeds():
    copy_run("stack", "seeds/seed_7", "model.safetensors", "config.json")
    shutil.copy("stack/config.json", "seeds")


def seeds():
    for i in (7, 8):
        copy_run("stack", f"seeds/seed_{i}", "config.json")


def without_part_of_the_card():
    with safe_open("stack/model.safetensors", "numpy") as file:
        card = json.loads(file.metadata()["dae_jax"])
    del card["class_names"]
    save_file(load_file("stack/model.safetensors"), "r", {"dae_jax": json.dumps(card)})


FINISH = "finish it: python -m dae_jax.pretrain --resume --run-dir"
BAD_RUNS = {
    "nothing": (lambda: None, "r", "r: expected a run directory with model.safetensors"),
    "empty folder": (lambda: Path("r").mkdir(), "r", "got neither; check the path"),
    "several seeds": (seeds, "seeds", "choose one: seeds/seed_7, seeds/seed_8"),
    "unfinished": (lambda: copy_run("stack", "r", "model.*"), "r", f"{FINISH} r\n"),
    "layer missing, too": (lambda: copy_run("stack", "r", "*.safetensors"), "r", f"{FINISH} r\n"),
    "unfinished seed": (unfinished_seeds, "seeds/seed_7", f"{FINISH} seeds\n"),
    "comparison": (compared, "cmp", "which keeps no model; train one without --compare"),
    "not safetensors": (lambda: Path("r").write_text("W = 1"), "r", "cannot read a model from r"),
    "cut off": (
        lambda: Path("r").write_bytes(Path("stack/model.safetensors").read_bytes()[:-9]),
        "r",
        "cannot read a model from r",
    ),
    "other tensors": (lambda: save_file({"x": np.zeros(3)}, "r"), "r", "top.W, top.b), got x"),
    "no card": (
        lambda: save_file(load_file("stack/model.safetensors"), "r"),
        "r",
        "model card of r: expected the metadata that a training command writes",
    ),
    "no whole card": (without_part_of_the_card, "r", "got no 'class_names'"),
}


@pytest.mark.parametrize("main", [predict.main, transform.main], ids=["predict", "transform"])
@pytest.mark.parametrize("name", BAD_RUNS)
def test_a_run_without_a_model_is_one_line_and_writes_nothing(call, models_here, main, name):
    prepare, run, words = BAD_RUNS[name]
    prepare()
    before = written(models_here)
    status, out, err = call(main, run, "own.npz")
    assert (status, out) == (2, "")
    assert_one_line(err)
    assert words in err
    assert written(models_here) == before


@pytest.mark.usefixtures("here")
def test_a_model_is_found_by_its_run_or_its_file():
    save_classifier("r/model.safetensors")
    for run in ("r", "r/model.safetensors"):
        assert saved.find(run, saved.CLASSIFIER) == Path("r/model.safetensors")
        assert saved.find(run, saved.CLASSIFIER, saved.DA) == Path("r/model.safetensors")
    refused(lambda: saved.find("r", saved.DA), "expected a run directory with params.safetensors")
