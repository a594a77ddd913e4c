"""`python -m dae_jax.transform` as a user meets it: its codes against NumPy in float64, errors."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from dae_jax import console, transform
from helpers import assert_one_line, sigmoid
from trained_models import copy_run, numpy_codes, own, picture, write_sweep, written

pytestmark = pytest.mark.usefixtures("models_here")


@pytest.mark.parametrize(("argv", "layer"), [(["--layer", "1"], 1), (["--layer", "2"], 2), ([], 2)])
def test_codes_are_those_of_the_layer(call, argv, layer):
    status, out, err = call(transform.main, "stack", "own.npz", "--part", "all", *argv)
    assert (status, err) == (0, "")
    codes = np.load("codes.npy", allow_pickle=False)
    assert codes.dtype == np.float32
    x = np.concatenate([own("x_train"), own("x_test")])
    np.testing.assert_allclose(codes, numpy_codes("stack", x, layer), rtol=5e-6)
    assert out == f"codes.npy  100 images, {codes.shape[1]} units of layer {layer}\n"


@pytest.mark.parametrize("run", ["da", "da/params.safetensors", "sweep/corruption_30"])
def test_codes_of_a_single_da_tied_or_not(call, run):
    write_sweep()
    assert call(transform.main, run, "own.npz").status == 0
    path = Path(run) if run.endswith("safetensors") else Path(run, "params.safetensors")
    tensors = load_file(path)
    assert ("W_prime" in tensors) == ("sweep" in run)
    x = own("x_test").reshape(30, -1) / 255
    expected = sigmoid(x @ tensors["W"].astype(np.float64) + tensors["b"])
    np.testing.assert_allclose(np.load("codes.npy"), expected, rtol=5e-6)


def test_a_folder_is_resized_to_the_images_of_a_da(call):
    values = np.random.default_rng(3).integers(0, 256, (8, 6))
    picture(Path("new/1.png"), values.repeat(2, 0).repeat(2, 1))
    tensors = load_file("da/params.safetensors")
    expected = sigmoid(values.reshape(1, 48) / 255 @ tensors["W"].astype(float) + tensors["b"])
    # its card says their size, and --image-size may say it again
    for flags in ((), ("--image-size", 8, 6)):
        assert call(transform.main, "da", "new", *flags).status == 0
        np.testing.assert_allclose(np.load("codes.npy"), expected, rtol=5e-6)


def test_a_folder_is_resized_as_requested_if_the_size_of_the_images_is_unknown(call):
    write_sweep()
    values = np.random.default_rng(3).integers(0, 256, (8, 6))
    picture(Path("new/1.png"), values.repeat(2, 0).repeat(2, 1))
    status, _, err = call(transform.main, "sweep/corruption_0", "new")
    assert status == 2 and "expected 48 values, as in training, got 16 x 12; pass --image" in err
    flags = ("--image-size", 8, 6)
    assert call(transform.main, "sweep/corruption_0", "new", *flags).status == 0
    tensors = load_file("sweep/corruption_0/params.safetensors")
    expected = sigmoid(values.reshape(1, 48) / 255 @ tensors["W"].astype(float) + tensors["b"])
    np.testing.assert_allclose(np.load("codes.npy"), expected, rtol=5e-6)


# ---- refused ---------------------------------------------------------------------------------


def test_runs_that_cannot_encode_are_refused(call):
    write_sweep()
    copy_run("da", "unfinished", "params.safetensors")
    copy_run("sweep/corruption_0", "lonely")
    for run, words in (
        ("sweep", "choose one: sweep/corruption_0, sweep/corruption_30"),
        ("unfinished", "finish it: python -m dae_jax.train --resume --run-dir unfinished"),
        ("lonely/params.safetensors", "config.json of its run beside it"),
    ):
        status, _, err = call(transform.main, run, "own.npz")
        assert status == 2
        assert_one_line(err, words)
    assert not Path("codes.npy").exists()


def test_a_da_needs_no_configuration_beside_its_file(call):
    copy_run("da", "lonely", "config.json")
    assert call(transform.main, "lonely/params.safetensors", "own.npz").status == 0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["stack", "own.npz", "--layer", "3"], "--layer: expected 1 to 2"),
        (["stack", "own.npz", "--layer", "0"], "--layer: expected 1 to 2"),
        (["da", "own.npz", "--layer", "2"], "--layer: expected 1 to 1"),
        (["stack", "own.npz", "--out", "codes.csv"], "ends in .npy"),
    ],
)
def test_layers_and_files_of_other_kinds_are_refused(call, models_here, argv, words):
    status, _, err = call(transform.main, *argv)
    assert status == 2
    assert_one_line(err, words)
    assert written(models_here) == set()


def test_debug_shows_the_traceback_and_help_the_flags(capfd):
    with pytest.raises(ValueError, match="check the path"):
        console.run(transform.main, ["nowhere", "own.npz", "--debug"])
    with pytest.raises(SystemExit) as stop:
        console.run(transform.main, ["--help"])
    assert stop.value.code == 0
    out = capfd.readouterr().out
    for word in ("RUN", "IMAGES", "--part", "--out", "--layer", "run directory"):
        assert word in out
