"""Saved models: parameters and card come back, older files still load, others are refused."""

import hashlib
import json
import os
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
from helpers import assert_one_line, refused, sigmoid
from trained_models import (
    copy_run,
    numpy_probabilities,
    own,
    save_classifier,
    write_sweep,
    written,
)

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


def stored(path: str | Path) -> tuple[dict, dict]:
    """The tensors and the card as they stand in a file."""
    with safe_open(path, "numpy") as file:
        return load_file(path), json.loads(file.metadata()["dae_jax"])


def test_a_file_holds_its_format_its_equations_and_a_checksum_of_its_tensors(tmp_path):
    path = tmp_path / "model.safetensors"
    saved.save(path, MODELS["classifier"], cards.card("classifier", DATA, pretrain.Settings(), 7))
    tensors, card = stored(path)
    assert card["format"] == saved.FORMAT and card["licence"] is None
    assert card["architecture"] == saved.described(*saved.load(path))["architecture"]
    lines = (f"{name} float32 {t.shape}\n".encode() + t.tobytes() for name, t in tensors.items())
    assert card["checksum"] == hashlib.sha256(b"".join(lines)).hexdigest()  # names are in order
    other = tensors | {"top.b": tensors["top.b"] + 1}
    assert saved.checksum(other) != saved.checksum(tensors)
    assert saved.checksum(tensors | {"top.b": tensors["top.b"].view("i4")}) != card["checksum"]


@pytest.mark.parametrize("read", [saved.load, saved.load_layer])
def test_a_damaged_file_and_one_of_a_newer_format_are_refused(tmp_path, read):
    path = tmp_path / "layer.safetensors"
    saved.save(path, MODELS["tied"], cards.card("autoencoder", DATA, train.Settings(), 7, HOW))
    tensors, card = stored(path)
    content = path.read_bytes()
    for at in (-1, -99):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[len(content) + at + 1 :])
        refused(lambda: read(path), "tensors in", path.name, "checksum", "copy it from its run")
    for entry in card:  # a flipped bit in any name or value
        text = json.dumps(card)
        for at in (text.index(f'"{entry}"') + 1, text.index(f'"{entry}"') + len(entry) + 4):
            flipped = text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :]
            save_file(tensors, path, {"dae_jax": flipped})
            refused(lambda: read(path), path.name)
    for version in (saved.FORMAT + 1, "two", None):
        save_file(tensors, path, {"dae_jax": json.dumps(card | {"format": version, "new": 1})})
        words = f"format of {path}: expected at most {saved.FORMAT}", f"got {version!r}; upgrade"
        refused(lambda: read(path), *words)
    for how in ({"decoder": "tanh"}, {}):
        changed = saved.signed(card | {"denoising": how})
        save_file(tensors, path, {"dae_jax": json.dumps(changed)})
        refused(lambda: saved.load(path), f"denoising in model card of {path}")
    for metadata in ("3", "[1]", "null", "{"):
        save_file(tensors, path, {"dae_jax": metadata})
        refused(lambda: read(path), f"model card of {path}", "expected")


@pytest.mark.parametrize("name", MODELS)
def test_tensors_that_do_not_fit_each_other_or_the_card_are_refused(tmp_path, name):
    kind, path = "autoencoder" if "tied" in name else "classifier", tmp_path / "model.safetensors"
    card = cards.card(kind, DATA, train.Settings(), 7, HOW)
    words = "expected tensors that fit each other and the card, got"
    saved.save(path, MODELS[name], replace(card, pixels=11, image_shape=None))
    refused(lambda: saved.load(path), path.name, words, "11 pixels")
    saved.save(
        path, MODELS[name], replace(card, kind="classifier" if "tied" in name else "autoencoder")
    )
    refused(lambda: saved.load(path), path.name)
    saved.save(path, MODELS[name], card)
    tensors, card = stored(path)
    for tensor in tensors:
        shorter = tensors | {tensor: np.ascontiguousarray(tensors[tensor][..., :-1])}
        changed = saved.signed(card | {"checksum": saved.checksum(shorter)})
        save_file(shorter, path, {"dae_jax": json.dumps(changed)})
        refused(lambda: saved.load(path), words)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("range", (float("inf"), 1)),
        ("range", (1e308, 1.0)),
        ("range", (0, float("nan"))),
        ("means", (float("nan"),) * 12),
        ("deviations", (0.0,) * 12),
        ("deviations", (1.0,) * 11),
    ],
)
def test_limits_and_scalings_that_no_training_gives_are_refused(tmp_path, field, value):
    path = tmp_path / "model.safetensors"
    card = cards.card("autoencoder", DATA, train.Settings(), 7, HOW)
    saved.save(path, MODELS["tied"], replace(card, **{field: value}))
    refused(lambda: saved.load(path), f"{field} in", path.name, "expected one that fits")


@pytest.mark.filterwarnings("error")
def test_values_that_float32_cannot_hold_are_refused_without_a_warning(tmp_path):
    dA = cards.card("autoencoder", DATA, train.Settings(), 7, replace(HOW, decoder="linear"))
    scaled = replace(dA, means=(0.0,) * 12, deviations=(1e-30,) * 12)
    model = saved.Model(MODELS["tied"], scaled)
    refused(lambda: model.encode(np.full((1, 12), 1e30)), "images: expected values at most 3e+38")
    classifier = cards.card("classifier", DATA, pretrain.Settings(), 7)
    far = replace(classifier, range=(1e308, 1.1e308), integer_pixels=False)
    refused(lambda: saved.Model(MODELS["classifier"], far).predict(PIXELS / 255), "as in training")


def test_cards_of_format_2_are_read_without_a_checksum_of_their_own(tmp_path):
    path = tmp_path / "model.safetensors"
    saved.save(path, MODELS["classifier"], cards.card("classifier", DATA, pretrain.Settings(), 7))
    tensors, card = stored(path)
    new = saved.load(path).card
    del card["card_checksum"]
    save_file(tensors, path, {"dae_jax": json.dumps(card | {"format": 2})})
    assert saved.load(path).card == new


def test_cards_from_before_there_was_a_format_are_read(tmp_path):
    path = tmp_path / "model.safetensors"
    saved.save(path, MODELS["classifier"], cards.card("classifier", DATA, pretrain.Settings(), 7))
    tensors, card = stored(path)
    new = {
        *("format", "architecture", "checksum", "card_checksum"),
        *("data_sha256", "command", "licence"),
    }
    old = {name: value for name, value in card.items() if name not in new}
    save_file(tensors, path, {"dae_jax": json.dumps(old)})
    model = saved.load(path)
    assert (model.card.command, model.card.data_sha256, model.card.licence) == (None,) * 3
    assert model.predict(PIXELS).shape == (9,)


# ---- a model as an object --------------------------------------------------------------------


@pytest.mark.usefixtures("models_here")
def test_a_model_gives_what_the_commands_give_for_arrays_of_any_layout(call):
    x = own("x_test")
    model = saved.load("stack/model.safetensors")
    probabilities = model.predict_proba(x)
    np.testing.assert_allclose(probabilities, numpy_probabilities("stack", x), rtol=5e-6)
    call(predict.main, "stack", "own.npz")
    rows = [line.split(",") for line in Path("predictions.csv").read_text().splitlines()[1:]]
    assert [row[1] for row in rows] == list(model.predict(x))
    assert [row[3:] for row in rows] == [[f"{p:.6g}" for p in row] for row in probabilities]
    for layer in (1, 2, None):
        call(transform.main, "stack", "own.npz", *(["--layer", layer] if layer else []))
        np.testing.assert_array_equal(model.encode(x, layer), np.load("codes.npy"))
    for same in (x.reshape(30, 48), x[..., None], x.astype(np.int64), x.tolist()):
        np.testing.assert_array_equal(model.predict_proba(same), probabilities)
    assert repr(model) == "<classifier 48-12-8-3, trained on own>"
    assert list(saved.load("pets_run/model.safetensors").predict(np.zeros((1, 20), "u1"))) in (
        ["cat"],
        ["dog, wet"],
    )


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("decoder", ["sigmoid", "linear"])
def test_a_da_reconstructs_as_it_was_trained(tied, decoder):
    how = Denoising(0.3, "masking", "squared-error", decoder)
    params = MODELS["tied" if tied else "untied"]
    model = saved.Model(params, cards.card("autoencoder", DATA, train.Settings(), 7, how))
    W, b, b_prime = (np.asarray(part, np.float64) for part in params[:3])
    a = sigmoid(PIXELS / 255 @ W + b) @ (W.T if tied else np.asarray(params[3])) + b_prime
    z = sigmoid(a) if decoder == "sigmoid" else a
    np.testing.assert_allclose(model.reconstruct(PIXELS), z, rtol=1e-5, atol=1e-6)
    assert repr(model) == "<dA 12-5, trained on toy>"


@pytest.mark.usefixtures("models_here")
def test_what_a_model_cannot_do_and_images_of_another_kind_are_refused():
    stack, dA = (saved.load(f"{run}.safetensors") for run in ("stack/model", "da/params"))
    x = own("x_test")
    refused(lambda: dA.predict(x), "expected a classifier, got a dA, which knows no classes")
    refused(lambda: stack.reconstruct(x), "expected a dA, got a classifier, which has no decoder")
    refused(lambda: stack.encode(x, 3), "layer: expected 1 to 2, the hidden layers of the model")
    for images, words in (
        (x.transpose(0, 2, 1), "images: expected 8 x 6, as in training, got 6 x 8; prepare them"),
        (x[:, :7], "got 7 x 6"),
        (x[0, 0], "images: expected numbers of shape (n, d)"),
        (x / 255, "images: expected integers in 0 to 255, as in training, got floats in 0 to 1"),
        (x.astype(int) * 2, "integers in 0 to 510; scale them"),
        (np.where(x > 200, np.inf, x), "images: expected finite numbers"),
        (np.where(x > 200, np.nan, x), "images: expected none that is missing"),
        (x[:0], "images: expected at least one image"),
        (x.astype(str), "images: expected numbers"),
    ):
        for use in (stack.predict, stack.predict_proba, stack.encode):
            refused(lambda use=use, images=images: use(images), words)


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
    del settings["sha256"]
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
    save_file(
        load_file("stack/model.safetensors"), "r", {"dae_jax": json.dumps(saved.signed(card))}
    )


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
        "model card of r: expected a field kind, got none",
    ),
    "no whole card": (without_part_of_the_card, "r", "expected a field class_names, got none"),
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


def test_a_name_that_no_file_can_have_is_one_line():
    refused(lambda: saved.find("n" * 300, saved.DA), "nothing there", "check the path")


def test_a_run_of_somebody_else_is_one_line(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    save_classifier(tmp_path / "r/model.safetensors")
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", refuse)
        refused(lambda: saved.find(str(tmp_path / "r"), saved.CLASSIFIER), "check the path")
