"""`python -m dae_jax.train` as a user meets it: its files, resuming, errors, real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from dae_jax import console, train
from dae_jax.datasets import loading, mnist
from dae_jax.runs import checkpoints
from dae_jax.runs import run as runs
from helpers import ROOT, assert_one_line, contents, files, read_json


def test_a_run_leaves_its_figures_numbers_and_parameters(train_small):
    status, out, err = train_small("--run-dir", "runs/a", "--corruption", "0.3", "--animate")
    assert (status, err) == (0, "")
    suffix = "corruption_30_small_n-hidden-16_epochs-3"
    assert files("filters") == {
        f"filters_{suffix}.png",
        f"filters_{suffix}.gif",
        f"filters_{suffix}_labelled.png",
        f"reconstructions_{suffix}.png",
        f"reconstructions_{suffix}_labelled.png",
        f"cost_{suffix}.png",
    }
    # plain lines, as the output is no terminal; then the numbers and the summary
    assert [line.split()[:2] for line in out.splitlines()[:3]] == [
        ["epoch", f"{i}/3"] for i in (1, 2, 3)
    ]
    assert "images/s" in out.splitlines()[-1] and "run runs/a" in out.splitlines()[-1]

    metrics = [json.loads(line) for line in Path("runs/a/metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in metrics] == [1, 2, 3]
    assert all(row["cost"] > 0 and row["seconds"] > 0 for row in metrics)
    tensors = load_file("runs/a/params.safetensors")
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    assert shapes == {"W": (64, 16), "b": (16,), "b_prime": (64,)}
    results = read_json("runs/a/results.json")
    assert results["cost"] == metrics[-1]["cost"]
    assert results["data"]["instead_of_mnist"] is False
    assert {"locality", "local_filters", "dead_units", "valid_cost_uncorrupted"} <= set(results)
    assert read_json("runs/a/config.json")["corruption"]["corruption"] == [0.3]
    command = "python -m dae_jax.train --data small.npz --n-hidden 16 --epochs 3"
    assert Path("runs/a/command.txt").read_text().startswith(command)
    with Image.open(f"filters/filters_{suffix}.png") as image:
        about = json.loads(image.text["dae_jax"])
        assert about["training"]["seed"] == 123
        assert image.size == (89, 89)
    with Image.open(f"filters/filters_{suffix}.gif") as image:
        assert image.n_frames == 4  # before the first epoch, and after each


@pytest.mark.slow
def test_a_sweep_has_one_folder_per_member_and_a_comparison(train_small):
    flags = ("--run-dir", "runs/s", "--corruption", "0", "0.3", "--seeds", "2")
    status, out, _ = train_small(*flags)
    assert status == 0
    assert "comparison_corruption_0_30_small" in out
    assert "2 seeds" in out and "standard deviation" in out
    names = {f"corruption_{level}_seed_{seed}" for level in (0, 30) for seed in (123, 124)}
    assert {p.name for p in Path("runs/s").iterdir() if p.is_dir()} == names | {"checkpoints"}
    for name in names:
        assert {"metrics.jsonl", "params.safetensors", "results.json"} == files(f"runs/s/{name}")
    # a member of a sweep equals the run alone
    train_small("--run-dir", "runs/one", "--corruption", "0.3", "--seed", "124")
    alone = load_file("runs/one/params.safetensors")
    member = load_file("runs/s/corruption_30_seed_124/params.safetensors")
    for name, tensor in alone.items():
        np.testing.assert_array_equal(member[name], tensor)
    # and the levels began with the same weights, so that the comparison shows the same units
    assert "filters/filters_corruption_30_small_n-hidden-16_epochs-3_seed-124.png" in out


@pytest.mark.slow
def test_without_epochs_other_data_gets_about_as_many_updates_as_the_tutorial(train_small):
    status, out, _ = train_small("--batch-size", "1", "--n-hidden", "2", size=())
    assert status == 0
    assert "636 epochs of 59 images, 37,524 updates: about the tutorial's 37,500" in out
    assert "filters_corruption_30_small_n-hidden-2_batch-size-1.png" in files("filters")


# ---- resuming --------------------------------------------------------------------------------


def test_a_longer_run_continues_a_shorter_one_to_the_same_bits(train_small):
    train_small("--run-dir", "runs/short")
    train_small("--run-dir", "runs/long", size=("--n-hidden", "16", "--epochs", "5"))
    flags = ("--run-dir", "runs/short", "--resume", "--epochs", "5")
    status, out, _ = train_small(*flags, size=())
    assert status == 0 and "resuming after epoch 3 of 5" in out
    short, long = (Path("runs", run, "params.safetensors") for run in ("short", "long"))
    assert short.read_bytes() == long.read_bytes()
    metrics = checkpoints.read_metrics(Path("runs/short/metrics.jsonl"))
    assert [row["epoch"] for row in metrics] == [1, 2, 3, 4, 5]


def test_resuming_refuses_other_settings_and_says_which_differ(train_small):
    train_small("--run-dir", "r")
    before = contents("r")
    flags = ("--run-dir", "r", "--resume", "--n-hidden", "8", "--noise", "gaussian")
    status, _, err = train_small(*flags, size=())
    assert status == 2
    assert "--n-hidden is 16 there, 8 here" in err
    assert "--noise is masking there, gaussian here" in err
    assert before == contents("r")
    assert train_small("--run-dir", "r")[::2] == (
        2,
        "error: --run-dir: r holds a run already; pass --resume, or choose another folder\n",
    )


def test_resuming_in_a_folder_of_another_kind_is_refused(train_small):
    Path("photos").mkdir()
    Path("photos/cat.txt").write_text("meow")
    status, _, err = train_small("--resume", "--run-dir", "photos")
    assert status == 2 and "photos holds no run" in err


# ---- refused ---------------------------------------------------------------------------------

BAD = {
    "level above 1": (["--corruption", "1.5"], "--corruption: expected levels in [0, 1], got 1.5"),
    "negative level": (["--corruption", "-0.1"], "levels in [0, 1], got -0.1"),
    "NaN level": (["--corruption", "nan"], "levels in [0, 1], got nan"),
    "one bad of several": (["--corruption", "0", "2"], "got 2"),
    "the same level twice": (["--corruption", "0.1", "0.1"], "different levels"),
    "no number": (["--corruption", "much"], "much"),
    "unknown noise": (["--noise", "pink"], "'pink'"),
    "unknown cost": (["--cost", "hinge"], "'hinge'"),
    "unknown optimiser": (["--optimizer", "newton"], "'newton'"),
    "unknown flag": (["--hidden", "3"], "--hidden"),
    "unknown data": (["--data", "mnits"], "mnist"),
    "missing file": (["--data", "nothing.npz"], "nothing.npz"),
    "batch too large": (["--batch-size", "62"], "--batch-size: expected at most 59"),
    "no batch": (["--batch-size", "0"], "--batch-size"),
    "negative hidden": (["--n-hidden", "-5"], "--n-hidden"),
    "no epochs": (["--epochs", "0"], "--epochs"),
    "no seeds": (["--seeds", "0"], "--seeds"),
    "negative seed": (["--seed", "-1"], "--seed"),
    "seed too large": (["--seed", "4294967296"], "--seed"),
    "no rate": (["--learning-rate", "0"], "--learning-rate: expected a number above 0"),
    "infinite rate": (["--learning-rate", "inf"], "--learning-rate"),
    "no scale": (["--pixel-scale", "0"], "--pixel-scale"),
    "scale too small": (["--pixel-scale", "100"], "pass --pixel-scale 255"),
    "bad fraction": (["--valid-fraction", "1"], "--valid-fraction"),
    "linear cross-entropy": (
        ["--decoder", "linear", "--cost", "cross-entropy"],
        "use squared-error with it",
    ),
    "nothing held out": (["--early-stopping", "--valid-fraction", "0"], "--valid-fraction 0"),
    "resume from nowhere": (["--resume"], "--run-dir"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_flags_are_one_line_and_status_2_and_write_nothing(train_small, name):
    flags, words = BAD[name]
    # of a flag given twice, the last one counts
    status, out, err = train_small(*flags)
    assert status == 2 and "Traceback" not in out
    assert_one_line(err)
    assert words in err
    assert files() == {"small.npz"}


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((30, 4), np.nan, np.float32), "NaN alone"),
        (np.full((30, 4), np.inf, np.float32), "got inf"),
        (np.full((30, 4), 1.5, np.float32), "--cost squared-error --decoder linear"),
        (np.full((30, 4), -0.5, np.float32), "values in [0, 1]"),
        (np.zeros((0, 4), np.float32), "at least one image"),
        (np.zeros(30, np.float32), "30"),
    ],
    ids=["nan", "inf", "above", "below", "empty", "rank"],
)
def test_bad_data_is_one_line_and_status_2_and_writes_nothing(train_small, array, words):
    np.save("bad.npy", array)
    status, _, err = train_small(data="bad.npy")
    assert status == 2
    assert_one_line(err, words)
    assert files() == {"small.npz", "bad.npy"}


def test_debug_shows_the_traceback():
    with pytest.raises(ValueError, match="levels in"):
        console.run(train.main, ["--corruption", "2", "--debug"])


@pytest.mark.parametrize("flag", ["--output-dir", "--run-dir"])
def test_a_folder_that_cannot_be_written_is_refused_before_training(train_small, flag):
    Path("taken").write_text("a file")
    status, out, err = train_small(flag, "taken/below")
    assert status == 2 and "cannot write taken/below" in err
    assert "epoch" not in out
    assert Path("taken").read_text() == "a file"


@pytest.mark.slow
def test_without_mnist_the_sample_is_used_and_this_is_said_first(train_small, monkeypatch):
    monkeypatch.setattr(mnist, "MIRRORS", ("http://127.0.0.1:9/",))
    status, out, _ = train_small("--run-dir", "r", "--epochs", "1", data=None)
    assert status == 0
    assert out.splitlines()[0].startswith("*** MNIST is unavailable: training on mnist-sample")
    assert read_json("r/results.json")["data"]["instead_of_mnist"] is True
    assert read_json("r/config.json")["data"]["data"] == "mnist-sample"
    assert "filters_corruption_30_mnist-sample_n-hidden-16_epochs-1.png" in files("filters")
    status, _, err = train_small(data="mnist")
    assert status == 2
    assert_one_line(err, "DAE_JAX_DATA")


def test_help_shows_groups_defaults_and_units(capfd):
    with pytest.raises(SystemExit) as stop:
        console.run(train.main, ["--help"])
    assert stop.value.code == 0
    out = capfd.readouterr().out
    for word in ("data options", "training options", "(default: 500)", "[0, 1]", "--untied"):
        assert word in out


# ---- real processes, really killed -----------------------------------------------------------


def environment(folder):
    """That of this process, but a cache of its own, whose files may be cut off."""
    own = {"PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": str(folder / "jax")}
    return os.environ | own


def start(*argv, folder):
    return subprocess.Popen(
        [sys.executable, "-m", "dae_jax.train", "--data", "small.npz", *argv],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_lines(path: Path, n: int, process) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() or path.read_text().count("\n") < n:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.005)


LONG = ("--n-hidden", "300", "--epochs", "600", "--batch-size", "2")


@pytest.mark.slow
def test_a_run_killed_at_any_moment_resumes_to_the_same_bits(train_small, here):
    assert train_small("--run-dir", "whole", size=LONG).status == 0
    metrics, kills = here / "killed" / "metrics.jsonl", 0
    for n in (1, 150, 400):
        process = start(*LONG, "--run-dir", "killed", "--resume", folder=here)
        wait_for_lines(metrics, n, process)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        kills += process.returncode == -signal.SIGKILL
    assert kills == 3
    assert not (here / "killed" / "params.safetensors").exists()
    status, out, err = train_small("--run-dir", "killed", "--resume", size=())
    assert (status, err) == (0, "")
    assert "resuming after epoch" in out
    same = [(here / run / "params.safetensors").read_bytes() for run in ("whole", "killed")]
    assert same[0] == same[1]
    costs = [
        [
            (row["epoch"], row["cost"])
            for row in checkpoints.read_metrics(here / run / "metrics.jsonl")
        ]
        for run in ("whole", "killed")
    ]
    assert costs[0] == costs[1] and len(costs[0]) == 600


@pytest.mark.slow
@pytest.mark.usefixtures("train_small")
def test_ctrl_c_ends_cleanly_with_a_checkpoint(here):
    process = start(*LONG, "--run-dir", "r", folder=here)
    wait_for_lines(here / "r" / "metrics.jsonl", 5, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "stopped after epoch" in out and "--resume --run-dir r" in out
    epoch = int(out.split("stopped after epoch ")[1].split(";")[0])
    assert (here / "r" / "checkpoints" / str(epoch)).is_dir()


@pytest.mark.slow
@pytest.mark.usefixtures("train_small")
def test_a_full_disk_is_one_line_and_loses_nothing(here):
    """A limit on the size of files stands for a full disk: the system refuses the write too."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "from dae_jax.console import cli; sys.exit(cli('train'))"
    )
    (here / "filters").mkdir()
    flags = [*LONG[:2], "--epochs", "2", "--data", "small.npz", "--run-dir", "r"]
    process = subprocess.run(
        [sys.executable, "-c", code, *flags],
        cwd=here,
        env=environment(here) | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 2, process.stderr
    assert process.stderr.count("\n") == 1 and "cannot write" in process.stderr
    assert not files(here / "filters")
    assert "config.json" in files(here / "r")


# ---- in blocks -------------------------------------------------------------------------------


def test_a_block_of_all_images_is_the_run_in_memory(train_small):
    train_small("--run-dir", "memory")
    status, _, err = train_small("--run-dir", "blocks", "--block-size", "1000")
    assert (status, err) == (0, "")
    one, two = (read_json(f"{run}/results.json") for run in ("memory", "blocks"))
    assert one["cost"] == two["cost"]


@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("standardize", [False, True])
def test_images_in_a_file_are_trained_on_as_those_in_memory(train_small, standardize):
    flags = ("--block-size", "20", "--shuffle", *(["--standardize"] if standardize else []))
    with np.load("small.npz") as data:
        images = data["x"]
    np.save("plain.npy", images)
    np.savez_compressed("packed.npz", x=images)  # which is read into memory
    for data in ("plain.npy", "packed.npz"):
        status, out, err = train_small(*flags, "--run-dir", data[:5], data=data)
        assert (status, err) == (0, "") and "block 1/2" in out
    one, two = (read_json(f"{run}/results.json") for run in ("plain", "packe"))
    np.testing.assert_allclose(one["cost"], two["cost"], rtol=1e-6 if standardize else 0)


def test_a_block_smaller_than_a_minibatch_is_one_line(train_small):
    status, _, err = train_small("--block-size", "19", "--run-dir", "r")
    assert status == 2 and not Path("r").exists()
    assert_one_line(err, "--block-size", "at least 20", "got 19")


def test_more_than_a_gigabyte_is_trained_on_in_blocks_by_default(train_small, monkeypatch):
    for module in (loading, runs):
        monkeypatch.setattr(module, "LARGE", 2_000)
    monkeypatch.setattr(runs, "BLOCK", 1_500)
    np.save("large.npy", np.random.default_rng(0).integers(0, 256, (75, 64), np.uint8))
    status, out, err = train_small("--run-dir", "r", data="large.npy")
    assert (status, err) == (0, "")
    assert "trained on in blocks of 23 (--block-size)" in out
    assert read_json("r/config.json")["data"]["block_size"] == 23
    first = Path("r/metrics.jsonl").read_text()
    status, out, err = train_small("--run-dir", "r", "--resume", data=None, size=())
    assert (status, err) == (0, "") and Path("r/metrics.jsonl").read_text() == first
