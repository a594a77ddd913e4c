"""`python -m dae_jax.pretrain` as a user meets it: its files, resuming, errors."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dae_jax import console, pretrain, training
from dae_jax.runs import stack
from dae_jax.settings import shared
from dae_jax.settings.pretrain import PRESETS, Settings
from helpers import ROOT, assert_one_line, contents, files, read_json, refused
from small_stack import (
    FLAGS,
    LEVELS,
    SEED,
    STACK,
    UNTRAINED,
    assert_same_run,
    metrics,
)


def test_a_run_leaves_its_configuration_numbers_models_and_figures(whole):
    figures = {
        f"figures/{name}.png"
        for name in (
            "filters_layer_1",
            "filters_layer_1_labelled",
            "filters_layer_2",
            "filters_layer_2_labelled",
            "learning_curves",
            "confusion_matrix",
            "misclassified",
        )
    }
    left = {name for name in files(whole.run) if "/checkpoints/" not in name}
    assert left == figures | {
        "command.txt",
        "config.json",
        "layer_1/metrics.jsonl",
        "layer_2/metrics.jsonl",
        "finetune/metrics.jsonl",
        "layer_1.safetensors",
        "layer_2.safetensors",
        "model.safetensors",
        "results.json",
        "report.json",
    }
    results = read_json(whole.run / "results.json")
    assert set(results["figures"]) == figures
    assert results["epochs"] == {"layer_1": 3, "layer_2": 3, "finetune": 6}
    assert results["pretraining_costs"] == [
        metrics(f"layer_{k}", whole.run)[-1]["cost"] for k in (1, 2)
    ]
    assert results["test_images"] == 22
    report = read_json(whole.run / "report.json")
    assert report["members"] == [results]
    assert report["data"]["pretraining_images"] == report["data"]["labelled_images"] == 66
    assert report["data"]["instead_of_mnist"] is False
    assert [row["epoch"] for row in metrics("finetune", whole.run)] == [1, 2, 3, 4, 5, 6]
    with Image.open(whole.run / "figures/filters_layer_2.png") as image:
        about = json.loads(image.text["dae_jax"])
        assert (about["layer"], about["running"]["seed"]) == (2, SEED)
    for words in ("layer 1, epoch 3/3", "layer 2, epoch 3/3", "fine-tuning, epoch 6/6"):
        assert words in whole.out
    assert f"test error {results['test_error']:.2%} of 22 images" in whole.out
    assert whole.out.splitlines()[-1].endswith("run r")


# ---- interrupted and resumed -----------------------------------------------------------------


def interrupt(monkeypatch, stage, epoch, how):
    """Let `how` happen after an epoch of a stage, counted from 0, before it is recorded."""
    real, begun = training.fit, []

    def fit(*args, **kwargs):
        begun.append(1)
        for report in real(*args, **kwargs):
            if (len(begun), report.epoch) == (stage + 1, epoch):
                how()
            yield report

    monkeypatch.setattr(training, "fit", fit)


def ctrl_c_twice():
    raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2], ids=["layer_1", "layer_2", "finetune"])
def test_an_interrupted_run_resumes_to_the_same_bits(
    pretrain_small, pretrain_call, whole, monkeypatch, stage
):
    with monkeypatch.context() as patch:
        interrupt(patch, stage, 3, ctrl_c_twice)
        assert pretrain_small().status == 130
    assert {f"layer_{k}.safetensors" for k in range(1, 3) if k <= stage} == {
        name for name in files("r") if name.endswith(".safetensors")
    }
    status, out, err = pretrain_call("--resume", "--run-dir", "r")
    assert (status, err) == (0, "")
    name = ["layer 1", "layer 2", "fine-tuning"][stage]
    # epochs pass faster than the second between checkpoints
    assert f"{name}: resuming after epoch 1 of" in out
    # finished layers are not trained again
    for done in ["layer 1", "layer 2"][:stage]:
        assert f"{done}, epoch" not in out
    assert_same_run("r", whole.run)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["another layer", "a flipped bit"])
def test_a_damaged_layer_is_named_and_when_removed_trained_again(
    pretrain_call, here, whole, damage
):
    shutil.copytree(whole.run, "r")
    layer = Path("r/layer_1.safetensors")
    if damage == "another layer":
        shutil.copy("r/layer_2.safetensors", layer)
    else:
        content = bytearray(layer.read_bytes())
        content[-5] ^= 16
        layer.write_bytes(content)
    status, _, err = pretrain_call("--resume", "--run-dir", "r")
    assert status == 2
    assert_one_line(err, "r/layer_1.safetensors")
    layer.unlink()
    assert pretrain_call("--resume", "--run-dir", "r").status == 0
    assert_same_run("r", whole.run)


@pytest.mark.slow
@pytest.mark.parametrize("left", [0, 200])
def test_a_finished_layer_whose_metrics_are_damaged_is_trained_again(
    pretrain_call, here, whole, left
):
    shutil.copytree(whole.run, "r")
    path = Path("r/layer_1/metrics.jsonl")
    path.write_bytes(path.read_bytes()[:left])
    status, out, err = pretrain_call("--resume", "--run-dir", "r")
    assert (status, err) == (0, "") and "r/layer_1/metrics.jsonl is damaged after epoch" in out
    assert_same_run("r", whole.run)


@pytest.mark.slow
def test_one_ctrl_c_stops_a_sweep_after_the_epoch_and_says_how_to_resume(
    pretrain_small, pretrain_call, sweep, monkeypatch
):
    with monkeypatch.context() as patch:
        interrupt(patch, 1, 2, partial(signal.raise_signal, signal.SIGINT))
        status, out, err = pretrain_small("--seeds", "3")
    assert status == 130 and "Traceback" not in err
    words = "stopped after layer 2, epoch 2; resume with:  python -m dae_jax.pretrain "
    assert words in out
    flags = out.split(words)[1].split()
    assert flags == ["--resume", "--run-dir", "r"]
    status, out, _ = pretrain_call(*flags)
    assert status == 0 and "layer 2: resuming after epoch 2 of 3" in out
    assert_same_run("r", sweep.run)


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bits(pretrain_call, here, whole):
    code = (
        "import os, signal, sys\n"
        "from dae_jax import console, training\n"
        "real, begun = training.fit, []\n"
        "def fit(*args, **kwargs):\n"
        "    begun.append(1)\n"
        "    for report in real(*args, **kwargs):\n"
        "        if (len(begun), report.epoch) == (2, 3):\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        yield report\n"
        "training.fit = fit\n"
        "sys.exit(console.cli('pretrain'))\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, *FLAGS, "--run-dir", "r"],
        cwd=here,
        env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": str(here / "jax")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert "layer_1.safetensors" in files("r") and "layer_2.safetensors" not in files("r")
    assert pretrain_call("--resume", "--run-dir", "r").status == 0
    assert_same_run("r", whole.run)


@pytest.mark.slow
def test_a_crash_between_the_files_of_two_members_loses_nothing(pretrain_call, sweep):
    shutil.copytree(sweep.run, "r")
    for name in (f"seed_{SEED + 1}/layer_2.safetensors", f"seed_{SEED + 2}/layer_2.safetensors"):
        Path("r", name).unlink()
    for path in Path("r").glob("seed_*/model.safetensors"):
        path.unlink()
    shutil.rmtree("r/finetune")
    status, out, _ = pretrain_call("--resume", "--run-dir", "r")
    assert status == 0 and "layer 2: resuming after epoch 3 of 3" in out
    assert_same_run("r", sweep.run)


def test_resuming_a_finished_run_only_reports_again(pretrain_call, whole):
    shutil.copytree(whole.run, "r")
    status, out, _ = pretrain_call("--resume", "--run-dir", "r")
    assert status == 0 and "epoch 1/" not in out
    assert_same_run("r", whole.run)
    typed = " ".join(["python -m dae_jax.pretrain", *FLAGS, "--run-dir r"])
    assert read_json("r/report.json")["command"] == typed


@pytest.mark.slow
def test_more_epochs_of_fine_tuning_continue_a_shorter_run(pretrain_small, pretrain_call, whole):
    assert pretrain_small("--finetune-epochs", "3").status == 0
    assert [row["epoch"] for row in metrics("finetune")] == [1, 2, 3]
    status, out, _ = pretrain_call("--run-dir", "r", "--resume", "--finetune-epochs", "6")
    assert status == 0 and "fine-tuning: resuming after epoch 3 of 6" in out
    assert_same_run("r", whole.run)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--hidden 12 9", "--hidden is 12 8 there, 12 9 here"),
        ("--corruption 0.2", "--corruption is 0.2 0.3 there, 0.2 here"),
        ("--pretrain-epochs 4", "--pretrain-epochs is 3 there, 4 here"),
        ("--finetune-epochs 5", "--finetune-epochs is 6 there, 5 here"),
        ("--dropout 0 0.5", "--dropout is 0 0 there, 0 0.5 here"),
        ("--seeds 2", "--seeds is 1 there, 2 here"),
        ("--freeze", "--freeze is False there, True here"),
        ("--preset best", "--preset is large-rate there, best here"),
    ],
)
def test_resuming_with_other_settings_is_refused_and_changes_nothing(
    pretrain_call, whole, flags, words
):
    shutil.copytree(whole.run, "r")
    before = contents("r")
    status, _, err = pretrain_call("--resume", "--run-dir", "r", *flags.split())
    assert status == 2
    assert_one_line(err, words)
    assert before == contents("r")


def test_a_folder_that_holds_a_run_is_left_alone(pretrain_small, whole):
    shutil.copytree(whole.run, "r")
    before = contents("r")
    status, _, err = pretrain_small()
    assert status == 2 and "r holds a run already; pass --resume" in err
    assert before == contents("r")


@pytest.mark.slow
def test_a_layer_in_a_folder_without_a_run_is_not_used(pretrain_small, sweep, whole):
    Path("r").mkdir()
    shutil.copy(sweep.run / f"seed_{SEED + 1}" / "layer_1.safetensors", "r")
    assert pretrain_small().status == 0
    assert_same_run("r", whole.run)


# ---- presets ---------------------------------------------------------------------------------


def test_a_preset_sets_the_flags_that_are_not_given_and_no_others(pretrain_small, monkeypatch):
    usual = Settings()
    recipe = replace(
        usual,
        preset="best",
        finetuning=replace(usual.finetuning, weight_decay=0.125, dropout=(0.1, 0.25)),
        pretraining=replace(usual.pretraining, noise=("gaussian",), shuffle=True),
    )
    monkeypatch.setitem(PRESETS, "best", recipe)
    monkeypatch.setattr(stack, "pretrain", lambda run: None)  # as if stopped before training
    assert pretrain_small("--preset", "best", "--dropout", "0", "0").status == 130
    got = shared.from_json(Settings, shared.read_record("r"))
    assert got.preset == "best"
    # a given flag counts even if its value is the default of another preset
    assert got.finetuning.dropout == (0, 0)
    assert got.finetuning.weight_decay == 0.125
    assert (got.pretraining.noise, got.pretraining.shuffle) == (("gaussian",), True)
    assert got.stack.hidden == (12, 8) and got.pretraining.corruption == LEVELS


def test_the_tutorials_preset_has_its_small_rate_and_its_many_epochs(pretrain_call, monkeypatch):
    monkeypatch.setattr(stack, "pretrain", lambda run: None)  # as if stopped before training
    data = ("--data", "small.npz", "--valid-fraction", "0.2", "--hidden", "12")
    rates = {}
    for name, flags in {
        "tutorial": ("--preset", "tutorial"),
        "usual": ("--init", "tutorial"),
    }.items():
        assert pretrain_call(*data, *flags, "--run-dir", name).status == 130
        got = shared.from_json(Settings, shared.read_record(name))
        tuning = got.finetuning
        rates[name] = (
            *got.pretraining.pretrain_learning_rate,
            tuning.finetune_learning_rate,
            tuning.finetune_epochs,
        )
    assert rates == {"tutorial": (0.02, 2.0, 1000), "usual": (0.1, 2.0, 20)}


def test_the_batches_of_a_preset_are_no_larger_than_the_images_with_labels(
    pretrain_call, monkeypatch
):
    monkeypatch.setattr(stack, "pretrain", lambda run: None)  # as if stopped before training
    data = ("--data", "small.npz", "--valid-fraction", "0.2", "--hidden", "12", "--preset", "best")
    status, out, _ = pretrain_call(*data, "--run-dir", "own")
    assert status == 130 and "batches of 66, all training images with labels, not 100" in out
    got = shared.from_json(Settings, shared.read_record("own"))
    assert got.finetuning.finetune_batch_size == 66
    status, _, err = pretrain_call(*data, "--finetune-batch-size", "70", "--run-dir", "given")
    assert status == 2
    assert_one_line(err, "--finetune-batch-size: expected at most 66", "got 70")


# ---- refused ---------------------------------------------------------------------------------

X = np.zeros((30, 8, 8), np.uint8)
Y = np.arange(30) % 3
BAD_DATA = {
    "a class that is only tested": (
        dict(x_train=X, y_train=Y % 2, x_test=X, y_test=Y),
        "expected some of each class, got none of 2",
    ),
    "a named class that is only tested": (
        dict(x_train=X, y_train=np.array(["a", "b"])[Y % 2], x_test=X[:1], y_test=["newt"]),
        "got none of newt",
    ),
    "one class": (dict(x=X, y=0 * Y), "at least 2, got 0"),
    "no labels": (dict(x=X), "a class for each training image, got none"),
    "labels for testing only": (dict(x_train=X, x_test=X, y_test=Y), "a class for each"),
    "negative labels": (dict(x=X, y=Y - 1), "integers of at least 0, got -1"),
    "labels between classes": (dict(x=X, y=Y + 0.5), "integers of at least 0"),
    "too few labels": (dict(x=X, y=Y[:29]), "(29,)"),
    "one-hot labels": (dict(x=X, y=np.eye(3)[Y]), "argmax"),
    "too bright": (dict(x=X + np.float32(1.5), y=Y), "values in [0, 1]"),
    "too dark": (dict(x=X - np.float32(0.5), y=Y), "--decoder linear"),
    "NaN": (dict(x=X + np.float32("nan"), y=Y), "NaN"),
    "infinite": (dict(x=X + np.float32("inf"), y=Y), "inf"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_is_one_line_and_status_2_and_writes_nothing(pretrain_call, name):
    arrays, words = BAD_DATA[name]
    np.savez("bad.npz", **arrays)
    share = [] if "x_test" in arrays else ["--valid-fraction", "0.1"]
    status, out, err = pretrain_call(*STACK, "--data", "bad.npz", "--run-dir", "r", *share)
    assert status == 2 and "Traceback" not in out
    assert_one_line(err, words)
    assert files() == {"small.npz", "bad.npz"}


UNLABELLED = {
    "another size": (np.zeros((9, 9, 9), np.uint8), "images of 8 x 8"),
    "another shape of as many pixels": (np.zeros((9, 4, 16), np.uint8), "images of 8 x 8"),
    "another kind": (np.zeros((9, 8, 8), np.float32), "uint8 pixels"),
    "NaN": (np.full((9, 8, 8), np.nan, np.float32), "NaN"),
}


@pytest.mark.parametrize("name", UNLABELLED)
def test_other_images_without_labels_are_refused(pretrain_small, name):
    images, words = UNLABELLED[name]
    np.save("more.npy", images)
    status, _, err = pretrain_small("--unlabelled", "more.npy")
    assert status == 2
    assert_one_line(err, words)
    assert files() == {"small.npz", "more.npy"}


def test_the_range_of_images_without_labels_is_checked_too(pretrain_small):
    rng = np.random.default_rng(0)
    np.savez("floats.npz", x=rng.random((60, 8, 8), np.float32), y=np.arange(60) % 3)
    np.save("more.npy", 5 * rng.random((60, 8, 8), np.float32))
    status, _, err = pretrain_small("--data", "floats.npz", "--unlabelled", "more.npy", *UNTRAINED)
    assert status == 2
    assert_one_line(err, "values in [0, 1]")
    assert not Path("r").exists()


def test_vectors_cannot_be_shifted(pretrain_small):
    rng = np.random.default_rng(0)
    np.savez("vectors.npz", x=rng.random((110, 65), np.float32), y=np.arange(110) % 3)
    status, _, err = pretrain_small(*UNTRAINED, "--data", "vectors.npz", "--shift", "1")
    assert status == 2 and "--shift: expected 0 for images of 65 values, got 1" in err


BAD = {
    "levels": ("--corruption 0.1 0.2 0.3", "--corruption: expected one value, or 2"),
    "epochs": ("--pretrain-epochs 1 2 3", "--pretrain-epochs: expected one value, or 2"),
    "rates": ("--pretrain-learning-rate .1 .1 .1", "expected one value, or 2"),
    "level above 1": ("--corruption 0.2 1.5", "levels in [0, 1], got 1.5"),
    "NaN level": ("--corruption nan", "levels in [0, 1], got nan"),
    "no units": ("--hidden 0", "--hidden: expected a width of at least 1"),
    "no units in one": ("--hidden 12 -1", "--hidden"),
    "no layers": ("--hidden", "--hidden"),
    "all dropped": ("--dropout 1 0", "--dropout: expected probabilities in [0, 1), got 1"),
    "hidden dropped": ("--dropout 0 1", "--dropout"),
    "one dropout": ("--dropout 0.5", "--dropout"),
    "out of sight": ("--shift 8", "--shift: expected 0 to 7 for images of 8 x 8, got 8"),
    "negative shift": ("--shift -1", "--shift: expected 0 to 7"),
    "shifted codes": ("--shift 1 --freeze", "--shift: expected 0 with --freeze and --compare"),
    "shift compared": ("--shift 1 --compare --seeds 2", "--shift: expected 0 with --freeze"),
    "no step size left": ("--learning-rate-decay 0", "--learning-rate-decay"),
    "growing steps": ("--learning-rate-decay 1.1", "a factor in (0, 1], got 1.1"),
    "negative weight decay": ("--weight-decay -1", "--weight-decay: expected at least 0"),
    "infinite weight decay": ("--weight-decay inf", "--weight-decay"),
    "unknown optimiser": ("--finetune-optimizer adm", "did you mean adam?"),
    "large batch": ("--batch-size 67", "--batch-size: expected at most 66"),
    "large other batch": ("--finetune-batch-size 67", "--finetune-batch-size: expected at most 66"),
    "no batch": ("--finetune-batch-size 0", "--finetune-batch-size"),
    "negative epochs": ("--pretrain-epochs -1", "--pretrain-epochs"),
    "no fine-tuning": ("--finetune-epochs 0", "--finetune-epochs"),
    "no rate": ("--pretrain-learning-rate 0", "a number above 0"),
    "no other rate": ("--finetune-learning-rate nan", "--finetune-learning-rate"),
    "negative seed": ("--seed -1", "--seed"),
    "seeds past the last": ("--seed 4294967295 --seeds 2", "--seed"),
    "linear cross-entropy": ("--decoder sigmoid linear", "--cost cross-entropy (layer 2)"),
    "unknown noise": ("--noise pink", "'pink'"),
    "unknown preset": ("--preset worst", "'worst'"),
    "unknown flag": ("--epochs 3", "--epochs"),
    "missing file": ("--data nothing.npz", "nothing.npz"),
    "missing unlabelled": ("--unlabelled nothing.npz", "nothing.npz"),
    "scale too small": ("--pixel-scale 100", "pass --pixel-scale 255"),
    "no place": ("--run-dir small.npz/below", "cannot write small.npz/below"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_flags_are_one_line_and_status_2_and_write_nothing(pretrain_small, name):
    flags, words = BAD[name]
    status, out, err = pretrain_small(*flags.split())
    assert status == 2 and "Traceback" not in out
    assert_one_line(err)
    assert words in err
    assert files() == {"small.npz"}


def test_help_shows_groups_defaults_and_ranges(capfd):
    with pytest.raises(SystemExit) as stop:
        console.run(pretrain.main, ["--help"])
    assert stop.value.code == 0
    out = capfd.readouterr().out
    for word in ("stack options", "finetuning options", "(default: 89677)", "[0, 1)", "--preset"):
        assert word in out


def test_debug_shows_the_traceback():
    assert "levels in" in refused(
        lambda: console.run(pretrain.main, ["--corruption", "2", "--debug"])
    )


def test_a_block_holds_the_minibatches_of_both_stages(pretrain_small):
    sizes = ("--batch-size", "4", "--finetune-batch-size", "10", "--block-size", "9")
    status, out, err = pretrain_small(*sizes)
    assert (status, out) == (2, "")
    assert_one_line(err, "--block-size: expected at least 10, the images of a minibatch, got 9")
    assert not Path("r").exists()
