"""`python -m dae_jax.export` as a user meets it: a file that runs, errors."""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import dae_jax
from dae_jax import export
from helpers import assert_one_line
from trained_models import own, write_sweep, written

pytestmark = pytest.mark.usefixtures("models_here")


def test_a_run_becomes_a_file(call, models_here):
    status, out, err = call(export.main, "stack", "--to", "onnx", "--out", "a/model.onnx")
    assert (status, err) == (0, "")
    size = Path("a/model.onnx").stat().st_size
    words = "images (n, 48) of uint8 to probabilities"
    assert out == f"a/model.onnx  {size / 1000:.0f} kB: {words}\n"
    assert written(models_here / "a") == {"model.onnx"}
    images = {"images": own("x_test").reshape(30, -1)}
    (p,) = onnxruntime.InferenceSession("a/model.onnx").run(None, images)
    expected = dae_jax.load("stack").predict_proba(own("x_test"))
    np.testing.assert_allclose(p, expected, rtol=0, atol=1e-6)
    _, out, _ = call(export.main, "da/params.safetensors", "--to", "stablehlo", "--out", "da.bin")
    assert out.endswith("of uint8 to codes and reconstructions\n")


def test_a_da_from_before_cards_takes_scaled_floats(call):
    write_sweep()
    _, out, _ = call(export.main, "sweep/corruption_30", "--to", "onnx", "--out", "m.onnx")
    assert "images (n, 48) of float32 to codes" in out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ("stack --to tflite --out m", "--to"),
        ("stack --to onnx", "--out"),
        ("stack --out m", "--to"),
        ("nowhere --to onnx --out m", "got nothing there; check the path"),
        ("stack --to onnx --out own.npz/m", "cannot write own.npz/m"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(call, models_here, argv, words):
    before = written(models_here)
    status, out, err = call(export.main, *argv.split())
    assert (status, out) == (2, "")
    assert_one_line(err, words)
    assert written(models_here) == before


@pytest.mark.parametrize(
    ("kind", "module", "extra"),
    [("onnx", "onnx", "export"), ("stablehlo", "flatbuffers", "export"), ("torch",) * 3],
)
def test_a_missing_library_is_one_line_with_the_extra(call, monkeypatch, kind, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    status, _, err = call(export.main, "stack", "--to", kind, "--out", "m")
    assert status == 2 and not Path("m").exists()
    assert_one_line(err, f"this needs {module}", f'pip install "dae-jax[{extra}]"')
