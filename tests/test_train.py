"""`python -m dae_jax.train`, as a user meets it: what it leaves behind, and how it fails."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from dae_jax import autoencoder, datasets, train
from dae_jax import console as command
from dae_jax.datasets import mnist
from dae_jax.runs import checkpoints

SMALL = ("--n-hidden", "16", "--epochs", "3")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory with a small data set in it: 59 training images of 8 x 8."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAE_JAX_DATA", raising=False)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (75, 64), np.uint8)
    np.savez("small.npz", x=images, y=rng.integers(0, 3, 75))
    return tmp_path


@pytest.fixture
def call(here, capfd):
    """Call the command in this process: status, what it printed, what it complained of."""

    def call(*argv, data="small.npz", small=SMALL):
        status = command.run(train.main, [*(["--data", data] if data else []), *small, *argv])
        out, err = capfd.readouterr()
        return status, out, err

    return call


def files(folder="."):
    return {str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file()}


def test_a_run_leaves_its_figures_numbers_and_parameters(call):
    status, out, err = call("--run-dir", "runs/a", "--corruption", "0.3", "--animate")
    assert (status, err) == (0, "")
    suffix = "corruption_30_small_n-hidden-16_epochs-3"
    assert files("filters") == {
        f"filters_{suffix}.png",
        f"filters_{suffix}.gif",
        f"reconstructions_{suffix}.png",
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
    results = json.loads(Path("runs/a/results.json").read_text())
    assert results["cost"] == metrics[-1]["cost"]
    assert results["data"]["instead_of_mnist"] is False
    assert {"locality", "local_filters", "dead_units", "valid_cost_uncorrupted"} <= set(results)
    config = json.loads(Path("runs/a/config.json").read_text())
    assert config["corruption"]["corruption"] == [0.3]
    with Image.open(f"filters/filters_{suffix}.png") as image:
        about = json.loads(image.text["dae_jax"])
        assert about["training"]["seed"] == 123
        assert image.size == (89, 89)
    with Image.open(f"filters/filters_{suffix}.gif") as image:
        assert image.n_frames == 4  # before the first epoch, and after each


def test_the_parameters_are_those_of_the_library_trained_alike(call):
    call("--run-dir", "runs/a", "--corruption", "0", "--pixel-scale", "256")
    params = checkpoints.load_params("runs/a/params.safetensors")
    x = datasets.load("small.npz").train.images.astype(np.float32) / 256
    mine = autoencoder.init_tutorial(123, 64, 16)
    for _ in range(3):
        for batch in x[: len(x) // 20 * 20].reshape(-1, 20, 64):
            grads = jax.grad(autoencoder.cost)(mine, batch, batch)
            mine = jax.tree.map(lambda p, g: p - np.float32(0.1) * g, mine, grads)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), params, mine)


def test_a_sweep_has_a_folder_a_member_and_a_comparison(call):
    status, out, _ = call("--run-dir", "runs/s", "--corruption", "0", "0.3", "--seeds", "2")
    assert status == 0
    assert "comparison_corruption_0_30_small" in out
    assert "2 seeds" in out and "standard deviation" in out
    names = {f"corruption_{level}_seed_{seed}" for level in (0, 30) for seed in (123, 124)}
    assert {p.name for p in Path("runs/s").iterdir() if p.is_dir()} == names | {"checkpoints"}
    for name in names:
        assert {"metrics.jsonl", "params.safetensors", "results.json"} == files(f"runs/s/{name}")
    # a member of a sweep is the run alone
    call("--run-dir", "runs/one", "--corruption", "0.3", "--seed", "124")
    alone = load_file("runs/one/params.safetensors")
    member = load_file("runs/s/corruption_30_seed_124/params.safetensors")
    for name, tensor in alone.items():
        np.testing.assert_array_equal(member[name], tensor)
    # and the levels began at the same weights, so that the comparison shows the same units
    assert "filters/filters_corruption_30_small_n-hidden-16_epochs-3_seed-124.png" in out


@pytest.mark.parametrize(
    "flags",
    [
        "--untied --init jax --shuffle --learning-rate 0.05",
        "--noise gaussian --cost squared-error --decoder linear --learning-rate 0.01",
        "--noise salt-and-pepper --optimizer momentum --learning-rate 0.01",
    ],
)
def test_other_models_train_too_and_their_figures_say_so(call, flags):
    flags = flags.split()
    status, _, err = call("--run-dir", "r", *flags)
    assert (status, err) == (0, "")
    costs = [row["cost"] for row in checkpoints.read_metrics(Path("r/metrics.jsonl"))]
    assert costs[-1] < costs[0]
    (sheet,) = [name for name in files("filters") if name.startswith("filters")]
    for word in flags:
        assert word.startswith("--") or f"-{word}" in sheet
    assert ("W_prime" in load_file("r/params.safetensors")) == ("--untied" in flags)


def test_without_epochs_other_data_gets_about_the_tutorials_updates(call):
    status, out, _ = call("--batch-size", "1", "--n-hidden", "2", small=())
    assert status == 0
    assert "636 epochs of 59 images, 37,524 updates: about the tutorial's 37,500" in out
    assert "filters_corruption_30_small_n-hidden-2_batch-size-1.png" in files("filters")


def test_a_longer_run_goes_on_from_a_shorter_one_to_the_same_bits(call):
    call("--run-dir", "runs/short")
    call("--run-dir", "runs/long", small=("--n-hidden", "16", "--epochs", "5"))
    status, out, _ = call("--run-dir", "runs/short", "--resume", "--epochs", "5", small=())
    assert status == 0 and "going on after epoch 3 of 5" in out
    short, long = (Path("runs", run, "params.safetensors") for run in ("short", "long"))
    assert short.read_bytes() == long.read_bytes()
    metrics = checkpoints.read_metrics(Path("runs/short/metrics.jsonl"))
    assert [row["epoch"] for row in metrics] == [1, 2, 3, 4, 5]


def test_resuming_refuses_another_configuration_and_says_what_differs(call):
    call("--run-dir", "r")
    before = {name: Path("r", name).read_bytes() for name in files("r")}
    status, _, err = call(
        "--run-dir", "r", "--resume", "--n-hidden", "8", "--noise", "gaussian", small=()
    )
    assert status == 2
    assert "--n-hidden is 16 there, 8 here" in err
    assert "--noise is masking there, gaussian here" in err
    assert before == {name: Path("r", name).read_bytes() for name in files("r")}
    assert call("--run-dir", "r")[::2] == (
        2,
        "error: --run-dir: r holds a run already; pass --resume, or choose another folder\n",
    )


def damage(checkpoint: Path) -> None:
    for path in checkpoint.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_half_written_checkpoint_is_passed_over_for_the_one_before(call, monkeypatch):
    every = checkpoints.Checkpoints.__init__
    monkeypatch.setattr(
        checkpoints.Checkpoints, "__init__", lambda self, folder: every(self, folder, every=0.0)
    )
    call("--run-dir", "whole")
    call("--run-dir", "broken")
    assert {p.name for p in Path("broken/checkpoints").iterdir()} == {"2", "3"}
    damage(Path("broken/checkpoints/3"))
    Path("broken/params.safetensors").unlink()
    status, out, err = call("--run-dir", "broken", "--resume", small=())
    assert (status, err) == (0, "")
    assert "going on after epoch 2 of 3" in out
    for name in ("params.safetensors", "config.json"):
        whole, broken = (json_or_bytes(Path(run, name)) for run in ("whole", "broken"))
        assert whole == broken
    for checkpoint in Path("broken/checkpoints").iterdir():
        damage(checkpoint)
    status, _, err = call("--run-dir", "broken", "--resume", small=())
    assert status == 2 and "no checkpoint in broken/checkpoints can be read" in err
    assert {p.name for p in Path("broken/checkpoints").iterdir()} == {"2", "3"}


def json_or_bytes(path: Path):
    if path.suffix != ".json":
        return path.read_bytes()
    return {k: v for k, v in json.loads(path.read_text()).items() if k != "output"}


def test_a_diverging_run_stops_and_says_what_to_lower(call):
    status, _, err = call(
        "--run-dir", "r", "--cost", "squared-error", "--decoder", "linear", "--learning-rate", "1e9"
    )
    assert status == 2
    assert err.count("\n") == 1 and "diverged in epoch" in err
    assert "lower --learning-rate, which is 1e+09" in err
    assert not Path("r/params.safetensors").exists()


def test_a_diverging_run_keeps_the_last_good_checkpoint(call, monkeypatch):
    """Good means that the parameters are, too: the costs of an epoch are those before its steps."""
    from dae_jax import training

    real = training.fit

    def soured(*args, **kwargs):
        for report in real(*args, **kwargs):
            bad = report.epoch == 3
            yield report._replace(finite=not bad, cost=report.cost * (np.nan if bad else 1))

    monkeypatch.setattr(training, "fit", soured)
    status, _, err = call("--run-dir", "r")
    assert status == 2 and "epoch 3: the cost is nan (the checkpoint of epoch 1 is kept)" in err
    assert [row["epoch"] for row in checkpoints.read_metrics(Path("r/metrics.jsonl"))] == [1, 2]
    monkeypatch.undo()


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
    "linear cross-entropy": (["--decoder", "linear"], "use --cost squared-error"),
    "resume from nowhere": (["--resume"], "--run-dir"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_flags_are_one_line_and_status_2_and_write_nothing(call, name):
    flags, told = BAD[name]
    # of a flag given twice, the last one counts
    status, out, err = call(*flags)
    assert status == 2
    assert err.startswith("error: ") and err.count("\n") == 1
    assert told in err
    assert "Traceback" not in out + err
    assert files() == {"small.npz"}


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.full((30, 4), np.nan, np.float32), "NaN"),
        (np.full((30, 4), np.inf, np.float32), "got inf"),
        (np.full((30, 4), 1.5, np.float32), "--cost squared-error --decoder linear"),
        (np.full((30, 4), -0.5, np.float32), "values in [0, 1]"),
        (np.zeros((0, 4), np.float32), "at least one image"),
        (np.zeros(30, np.float32), "30"),
    ],
    ids=["nan", "inf", "above", "below", "empty", "rank"],
)
def test_bad_data_is_one_line_and_status_2_and_writes_nothing(call, array, told):
    np.save("bad.npy", array)
    status, _, err = call(data="bad.npy")
    assert status == 2 and err.count("\n") == 1
    assert told.lower() in err.lower()
    assert files() == {"small.npz", "bad.npy"}


def test_data_of_any_range_trains_with_the_loss_that_the_error_names(call):
    rng = np.random.default_rng(0)
    np.save("wide.npy", rng.normal(size=(60, 9)).astype(np.float32))
    flags = ["--cost", "squared-error", "--decoder", "linear", "--learning-rate", "0.01"]
    assert call(*flags, data="wide.npy")[0] == 0


def test_debug_shows_the_traceback(here):
    with pytest.raises(ValueError, match="levels in"):
        command.run(train.main, ["--corruption", "2", "--debug"])


@pytest.mark.parametrize("flag", ["--output-dir", "--run-dir"])
def test_a_folder_that_cannot_be_written_is_told_before_training(call, flag):
    Path("taken").write_text("a file")
    status, out, err = call(flag, "taken/below")
    assert status == 2 and "cannot write taken/below" in err
    assert "epoch" not in out
    assert Path("taken").read_text() == "a file"


def test_resuming_a_folder_of_another_kind_is_refused(call):
    Path("photos").mkdir()
    Path("photos/cat.txt").write_text("meow")
    status, _, err = call("--resume", "--run-dir", "photos")
    assert status == 2 and "photos holds no run" in err


def test_without_mnist_the_sample_is_used_and_loudly_said(call, monkeypatch):
    monkeypatch.setattr(mnist, "MIRRORS", ("http://127.0.0.1:9/",))
    status, out, _ = call("--run-dir", "r", "--epochs", "1", data=None)
    assert status == 0
    assert out.splitlines()[0].startswith("*** MNIST is not to be had: training on mnist-sample")
    assert json.loads(Path("r/results.json").read_text())["data"]["instead_of_mnist"] is True
    assert json.loads(Path("r/config.json").read_text())["data"]["data"] == "mnist-sample"
    assert "filters_corruption_30_mnist-sample_n-hidden-16_epochs-1.png" in files("filters")
    status, _, err = call(data="mnist")
    assert status == 2 and "DAE_JAX_DATA" in err and err.count("\n") == 1


def test_help_shows_groups_defaults_and_units(capfd):
    with pytest.raises(SystemExit) as stop:
        command.run(train.main, ["--help"])
    assert stop.value.code == 0
    out = capfd.readouterr().out
    for word in ("data options", "training options", "(default: 500)", "[0, 1]", "--untied"):
        assert word in out


# ---- real processes, really killed ----------------------------------------------------------


def start(*argv, folder):
    environment = os.environ | {"PYTHONPATH": str(Path(train.__file__).parent.parent)}
    return subprocess.Popen(
        [sys.executable, "-m", "dae_jax.train", "--data", "small.npz", *argv],
        cwd=folder,
        env=environment,
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


def test_kill_9_at_any_moment_then_resume_ends_in_the_same_bits(here):
    whole = start(*LONG, "--run-dir", "whole", folder=here)
    _, err = whole.communicate(timeout=120)
    assert whole.returncode == 0, err

    metrics, kills = here / "killed" / "metrics.jsonl", 0
    for n in (1, 150, 400):
        process = start(*LONG, "--run-dir", "killed", "--resume", folder=here)
        wait_for_lines(metrics, n, process)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        kills += process.returncode == -signal.SIGKILL
    assert kills == 3
    assert not (here / "killed" / "params.safetensors").exists()
    last = start("--run-dir", "killed", "--resume", folder=here)
    out, err = last.communicate(timeout=120)
    assert last.returncode == 0, err
    assert "going on after epoch" in out
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


def test_a_full_disk_is_one_line_and_loses_nothing(here):
    """A file size limit stands for the full disk: the system refuses the write all the same."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "from dae_jax.train import cli; sys.exit(cli())"
    )
    (here / "filters").mkdir()
    flags = [*LONG[:2], "--epochs", "2", "--data", "small.npz", "--run-dir", "r"]
    process = subprocess.run(
        [sys.executable, "-c", code, *flags],
        cwd=here,
        env=os.environ
        | {"PYTHONPATH": str(Path(train.__file__).parent.parent), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == 2, process.stderr
    assert process.stderr.count("\n") == 1 and "cannot write" in process.stderr
    assert not files(here / "filters")
    assert "config.json" in files(here / "r")
