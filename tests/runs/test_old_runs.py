"""Runs that version 0.1.0 wrote still load, predict, transform and resume; see README.md here."""

import csv
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from dae_jax import autoencoder, predict, pretrain, stacked, train, transform
from dae_jax.runs import checkpoints, saved
from dae_jax.runs.run import read_settings
from dae_jax.settings import pretrain as pretrain_settings
from dae_jax.settings import train as train_settings
from helpers import assert_one_line, contents

ZIP = Path(__file__).parent / "version_0_1_0.zip"
RTOL = 1e-5  # on another processor; on the one that made the runs, the numbers are equal to the bit
MODELS = {
    "da": ["params.safetensors"],
    "sweep": ["corruption_0/params.safetensors", "corruption_30/params.safetensors"],
    "stack": ["layer_1.safetensors", "layer_2.safetensors", "model.safetensors"],
    "seeds": [
        f"seed_{seed}/{name}.safetensors"
        for seed in (89677, 89678)
        for name in ("layer_1", "layer_2", "model")
    ],
}
TUNE = "--finetune-batch-size 16 --finetune-epochs 2 --finetune-learning-rate 0.5"
RESUME = {
    "da": (train.main, "--epochs"),
    "sweep": (train.main, "--epochs"),
    "stack": (pretrain.main, "--finetune-epochs"),
    "seeds": (pretrain.main, "--finetune-epochs"),
}
WATCHED = {"valid_cost", "valid_costs"}  # of held-out images, which version 0.1.0 did not watch


@pytest.fixture(autouse=True)
def _old(here):
    """The old runs, in the working directory."""
    with zipfile.ZipFile(ZIP) as file:
        file.extractall(here)


def assert_same_models(run, other):
    for name in MODELS[run]:
        got, expected = load_file(Path(run, name)), load_file(Path(other, name))
        assert set(got) == set(expected)
        for tensor, value in expected.items():
            assert got[tensor].dtype == value.dtype
            np.testing.assert_allclose(got[tensor], value, rtol=RTOL, atol=1e-7)


def assert_same_metrics(run, other):
    paths = sorted(path.relative_to(other) for path in Path(other).rglob("metrics.jsonl"))
    assert paths
    for path in paths:
        got, expected = (checkpoints.read_metrics(Path(part, path)) for part in (run, other))
        assert [row["epoch"] for row in got] == [row["epoch"] for row in expected]
        for row, old in zip(got, expected, strict=True):
            assert set(row) - WATCHED == set(old)
            for name in set(old) - {"seconds"}:
                np.testing.assert_allclose(row[name], old[name], rtol=RTOL)


def test_their_settings_are_read():
    for run in ("da", "sweep"):
        assert isinstance(read_settings(Path(run)), train_settings.Settings)
    for run in ("stack", "seeds"):
        settings = read_settings(Path(run))
        assert isinstance(settings, pretrain_settings.Settings)
        assert settings.stack.hidden == (8, 6) and settings.finetuning.finetune_epochs == 2


@pytest.mark.parametrize("run", MODELS)
def test_their_models_load_with_a_card(run):
    for name in MODELS[run]:
        path = Path(run, name)
        if path.stem.startswith("layer"):
            layer = saved.load_layer(path)
            assert isinstance(layer, autoencoder.Params)
            assert layer.W.shape == ((36, 8) if path.stem == "layer_1" else (8, 6))
            continue
        model, card = saved.load(path)
        assert (card.pixels, card.pixel_scale, card.dae_jax) == (36, 255, "0.1.0")
        if run in ("da", "sweep"):
            assert isinstance(model, autoencoder.Params) and card.kind == "autoencoder"
            assert card.limits == {"integer": (0, 255), "float": (0, 1)}
        else:
            assert isinstance(model, stacked.Classifier) and card.kind == "classifier"
            assert (card.image_shape, card.class_names) == ((6, 6), ("0", "1", "2"))


def test_a_stack_predicts_the_same_table(call):
    assert call(predict.main, "stack", "small.npz", "--part", "all", "--out", "new.csv").status == 0
    with open("new.csv") as new, open("stack.csv") as old:
        got, expected = list(csv.reader(new)), list(csv.reader(old))
    assert got[0] == expected[0] and len(got) == len(expected) == 81
    assert [row[:2] for row in got] == [row[:2] for row in expected]
    probabilities = [np.array([row[2:] for row in table[1:]], float) for table in (got, expected)]
    np.testing.assert_allclose(*probabilities, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("argv", "codes"),
    [
        (("stack", "--layer", "1"), "stack_1.npy"),
        (("da",), "da.npy"),
        (("sweep/corruption_0",), "sweep_0.npy"),
    ],
    ids=["stack", "da", "sweep"],
)
def test_their_models_transform_to_the_same_codes(call, argv, codes):
    run, *flags = argv
    assert call(transform.main, run, "small.npz", "--part", "all", *flags).status == 0
    got, expected = np.load("codes.npy"), np.load(codes)
    assert got.dtype == expected.dtype and got.shape == expected.shape == (80, 8)
    np.testing.assert_allclose(got, expected, rtol=RTOL)


@pytest.mark.slow
@pytest.mark.parametrize("run", MODELS)
def test_they_resume_to_the_numbers_of_the_old_version(call, run):
    main, flag = RESUME[run]
    status, out, err = call(main, "--resume", "--run-dir", run, flag, "4")
    assert (status, err) == (0, "")
    assert "resuming after epoch 2 of 4" in out
    assert_same_models(run, f"resumed/{run}")
    assert_same_metrics(run, f"resumed/{run}")


@pytest.mark.slow
def test_an_interrupted_stack_resumes_to_its_old_end(call):
    shutil.copytree("stack", "whole")
    shutil.rmtree("stack/finetune")
    for name in ("model.safetensors", "results.json", "report.json"):
        Path("stack", name).unlink()
    status, out, err = call(pretrain.main, "--resume", "--run-dir", "stack")
    assert (status, err) == (0, "")
    assert "layer 1" not in out and "layer 2" not in out  # they are not trained again
    assert "fine-tuning, epoch 2/2" in out
    assert_same_models("stack", "whole")
    assert_same_metrics("stack", "whole")
    command = Path("whole/command.txt").read_text()
    assert command.startswith("python -m dae_jax.pretrain --data small.npz")
    assert Path("stack/command.txt").read_text() == command


@pytest.mark.slow
def test_a_stack_without_its_second_layer_trains_it_again_from_its_checkpoint(call):
    shutil.copytree("stack", "whole")
    Path("stack/layer_2.safetensors").unlink()
    status, out, _ = call(pretrain.main, "--resume", "--run-dir", "stack")
    assert status == 0 and "layer 2: resuming after epoch 2 of 2" in out
    assert_same_models("stack", "whole")


@pytest.mark.slow
@pytest.mark.parametrize("run", ["stack", "seeds"])
def test_their_layers_can_be_fine_tuned_again(call, run):
    status, _, err = call(pretrain.main, "--from-run", run, "--run-dir", "new", *TUNE.split())
    assert (status, err) == (0, "")
    for name in MODELS[run]:
        if "layer" in name:
            assert Path("new", name).read_bytes() == Path(run, name).read_bytes()
    assert_same_models(run, "new")


@pytest.mark.parametrize(
    ("run", "flags", "words"),
    [
        ("da", "--n-hidden 9", "--n-hidden is 8 there, 9 here"),
        ("da", "--epochs 1", "--epochs is 2 there, 1 here"),
        ("sweep", "--corruption 0.3", "--corruption is 0 0.3 there, 0.3 here"),
        ("stack", "--hidden 8 7", "--hidden is 8 6 there, 8 7 here"),
        ("seeds", "--seeds 3", "--seeds is 2 there, 3 here"),
    ],
)
def test_resuming_with_other_settings_is_refused_and_changes_nothing(call, run, flags, words):
    before = contents(run)
    status, _, err = call(RESUME[run][0], "--resume", "--run-dir", run, *flags.split())
    assert status == 2
    assert_one_line(err, words)
    assert contents(run) == before
