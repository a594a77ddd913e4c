"""Exports give what the model gives on real images, in the real runtimes."""

import io
import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from jax import export

import dae_jax
from dae_jax.runs import exporting, saved
from dae_jax.runs.saved import Model
from helpers import drawn
from trained_models import classifier, floats_card

pytestmark = pytest.mark.usefixtures("digits_here")
IMAGES = np.random.default_rng(0).random((5, 4), np.float32)


def as_the_model(model, images):
    if isinstance(model.params, saved.Classifier):
        return [model.predict_proba(images)]
    return [model.encode(images), model.reconstruct(images)]


def in_onnxruntime(model, images):
    return onnxruntime.InferenceSession(exporting.to_onnx(model)).run(None, {"images": images})


def in_jax(model, images):
    results = export.deserialize(bytearray(exporting.to_stablehlo(model))).call(images)
    return results if isinstance(results, tuple) else [results]


def in_torch(model, images):
    torch = pytest.importorskip("torch")
    program = torch.export.load(io.BytesIO(exporting.to_torch(model))).module()
    results = program(torch.from_numpy(images))
    return [r.numpy() for r in (results if isinstance(results, tuple) else [results])]


RUNTIMES = [in_onnxruntime, in_jax, pytest.param(in_torch, marks=pytest.mark.slow)]


def assert_the_same(runtime, model, images, atol=1e-6):
    expected = as_the_model(model, images)
    for n in (1, 2, len(images)):  # a batch of any size, each by one program
        results = runtime(model, images[:n])
        for got, values in zip(results, expected, strict=True):
            assert got.dtype == np.float32
            # sums of float32 numbers in another order
            np.testing.assert_allclose(got, values[:n], rtol=0, atol=atol)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("run", ["mine", "da"])
def test_an_export_gives_what_the_model_gives_for_real_digits(runtime, run):
    images = np.load("new_images.npy").reshape(-1, 784)
    model = dae_jax.load(f"runs/{run}")
    assert exporting.input_type(model) == "uint8"
    assert_the_same(runtime, model, images)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_rectifiers_and_floats(runtime):
    model = Model(classifier(4, 5, 3, 2), floats_card(activation="relu"))
    assert exporting.input_type(model) == "float32"
    assert_the_same(runtime, model, IMAGES)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_untied_and_linear(runtime):
    from dae_jax import autoencoder
    from helpers import key

    params = drawn(lambda: autoencoder.init(key(), 4, 3, tied=False))
    how = {"decoder": "linear", "corruption": 0.1, "noise": "gaussian", "cost": "squared-error"}
    card = floats_card(kind="autoencoder", denoising=how, class_names=None)
    assert_the_same(runtime, Model(params, card), IMAGES)
    integers = replace(card, integer_pixels=True, range=(-3.0, 300.0))
    assert exporting.input_type(Model(params, integers)) == "int32"
    assert_the_same(runtime, Model(params, integers), np.arange(20, dtype=np.int32).reshape(5, 4))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_columns_are_standardised_and_restored_in_their_own_units(runtime):
    from dae_jax import autoencoder
    from helpers import key

    params = drawn(lambda: autoencoder.init(key(), 4, 3))
    how = {"decoder": "linear", "corruption": 0.1, "noise": "gaussian", "cost": "squared-error"}
    card = floats_card(
        kind="autoencoder",
        denoising=how,
        class_names=None,
        integer_pixels=True,
        means=(1.0, -2.0, 0.0, 30.0),
        deviations=(1.0, 0.5, 10.0, 2.0),
    )
    assert exporting.input_type(Model(params, card)) == "float32"
    assert_the_same(runtime, Model(params, card), IMAGES, atol=1e-5)


def test_an_onnx_file_carries_its_card_and_equal_models_are_equal_files():
    model = dae_jax.load("runs/mine")
    content = exporting.to_onnx(model)
    assert content == exporting.to_onnx(dae_jax.load("runs/mine"))
    (card,) = onnx.load_from_string(content).metadata_props
    assert card.key == "dae_jax" and json.loads(card.value)["class_names"] == [*"0123456789"]
