"""`python -m dae_jax.transform` as a user meets it: its codes against NumPy in float64, errors."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from dae_jax import console, train, transform
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


# ---- restored images and scores --------------------------------------------------------------


def numpy_da(x):
    """The codes and the reconstructions of the dA in float64, 0 in place of gaps."""
    tensors = {name: t.astype(np.float64) for name, t in load_file("da/params.safetensors").items()}
    codes = sigmoid(np.nan_to_num(x) @ tensors["W"] + tensors["b"])
    return codes, sigmoid(codes @ tensors["W"].T + tensors["b_prime"])


def with_gaps():
    x = (own("x_test").reshape(30, -1) / 255).astype(np.float32)
    x[np.random.default_rng(0).random(x.shape) < 0.2] = np.nan
    np.save("gaps.npy", x)
    return x


def test_images_are_restored_and_their_gaps_filled_in(call):
    x = with_gaps()
    _, restored = numpy_da(x)
    status, out, _ = call(transform.main, "da", "gaps.npy", "--reconstruct")
    assert (status, out) == (0, "reconstructed.npy  30 images restored\n")
    np.testing.assert_allclose(np.load("reconstructed.npy"), restored, atol=1e-6)
    status, out, _ = call(transform.main, "da", "gaps.npy", "--impute", "--out", "whole.npy")
    n = np.isnan(x).sum()
    assert (status, out) == (0, f"whole.npy  {n} missing values of 30 rows filled in\n")
    expected = np.where(np.isnan(x), restored, x)
    np.testing.assert_allclose(np.load("whole.npy"), expected, atol=1e-6)


def test_the_codes_of_images_with_gaps_are_those_of_0(call):
    x = with_gaps()
    assert call(transform.main, "da", "gaps.npy").status == 0
    np.testing.assert_allclose(np.load("codes.npy"), numpy_da(x)[0], rtol=5e-6)


def test_scores_are_the_costs_of_the_values_that_are_there(call):
    x = with_gaps()
    _, z = numpy_da(x)
    assert call(transform.main, "da", "gaps.npy", "--score").status == 0
    costs = -np.where(np.isnan(x), 0, x * np.log(z) + (1 - x) * np.log(1 - z)).sum(axis=1)
    np.testing.assert_allclose(np.load("scores.npy"), costs, rtol=1e-5)


def test_a_csv_file_has_the_names_of_the_images(call):
    x = with_gaps()
    assert call(transform.main, "da", "gaps.npy", "--out", "codes.csv").status == 0
    header, *rows = Path("codes.csv").read_text().splitlines()
    codes = numpy_da(x)[0]
    assert header.split(",") == ["image", *(f"unit_{i}" for i in range(codes.shape[1]))]
    assert [row.split(",")[0] for row in rows] == [str(i) for i in range(30)]
    np.testing.assert_allclose([float(row.split(",")[1]) for row in rows], codes[:, 0], rtol=5e-6)


@pytest.fixture
def prices(call, standard_promotion, models_here):
    """A dA of the table ``prices.csv``, whose column ``kind`` holds its classes."""
    rng = np.random.default_rng(0)
    pairs = zip(rng.normal(size=40), "xy" * 20, strict=True)
    lines = [f"{value:.3f},{kind},{2 * value:.3f}" for value, kind in pairs]
    Path("prices.csv").write_text("\n".join(["a,kind,b", *lines, ",x,1"]))
    flags = ("--label-column", "kind", "--n-hidden", 4, "--epochs", 2, "--run-dir", "prices")
    assert call(train.main, "--data", "prices.csv", *flags).status == 0


@pytest.mark.usefixtures("prices")
def test_a_table_keeps_its_columns_and_its_classes(call):
    flags = ("--impute", "--out", "whole.csv")
    status, out, _ = call(transform.main, "prices", "prices.csv", *flags)
    assert (status, out) == (0, "whole.csv  1 missing values of 41 rows filled in\n")
    header, first, *_, last = Path("whole.csv").read_text().splitlines()
    assert header == "a,b,kind" and first.endswith(",x") and last.endswith(",1.0,x")
    assert not last.startswith(",")
    # new rows need no classes
    Path("new.csv").write_text("a,b\n0.5,1\n")
    assert call(transform.main, "prices", "new.csv", "--reconstruct").status == 0
    assert np.load("reconstructed.npy").shape == (1, 2)


@pytest.mark.usefixtures("prices")
@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("b,a", "expected a as number 1, as in training, got b"),
        ("a,b,c", "expected 2, as in training, got 3"),
    ],
)
def test_other_columns_are_refused(call, header, words):
    Path("new.csv").write_text(f"{header}\n{','.join('123'[: header.count(',') + 1])}\n")
    status, _, err = call(transform.main, "prices", "new.csv")
    assert status == 2
    assert_one_line(err, "columns of new.csv", words, "in their order")


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
        (["stack", "own.npz", "--out", "codes.txt"], "ends in .npy or .csv"),
        (["stack", "own.npz", "--layer", "1", "--score"], "one of --layer, --reconstruct"),
        (["stack", "own.npz", "--score"], "params.safetensors"),
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
