"""`python -m dae_jax.pretrain`, as a user meets it: what it leaves behind, and how it fails."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image
from safetensors.numpy import load_file

from dae_jax import augmentation, autoencoder, corruption, datasets, pretrain, stacked, training
from dae_jax import console as command
from dae_jax.runs import checkpoints
from dae_jax.runs import stack_report as stacked_report
from dae_jax.runs import stage as runs
from dae_jax.settings import pretrain as pretrain_config
from dae_jax.settings import train as config
from helpers import refused

SEED = 89677
LEVELS, BATCH = (0.2, 0.3), 16
SMALL = (
    *("--data", "small.npz", "--valid-fraction", "0.2", "--hidden", "12", "8"),
    *("--corruption", "0.2", "0.3", "--pretrain-epochs", "3", "--batch-size", str(BATCH)),
    *("--finetune-epochs", "6", "--finetune-batch-size", str(BATCH)),
    *("--finetune-learning-rate", "0.5"),
)
ONE_LAYER = ("--hidden", "12", "--corruption", "0.2")
LATER = (*ONE_LAYER, "--pretrain-epochs", "0")  # where only fine-tuning is of interest


def write_data(name="small.npz", n=110, labels=(0, 1, 2), shape=(8, 8), **more):
    """Noisy copies of a pattern a class, as bytes."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, len(labels), n)
    patterns = rng.integers(0, 256, (len(labels), *shape))
    noise = rng.integers(0, 256, (n, *shape))
    images = np.where(rng.random(noise.shape) < 0.35, patterns[classes], noise).astype(np.uint8)
    np.savez(name, x=images, y=np.array(labels)[classes], **more)


def files(folder="."):
    return {str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file()}


def read(path):
    return json.loads(Path(path).read_text())


def metrics(stage, folder="r"):
    """The metrics of a stage, without what a clock told."""
    rows = checkpoints.read_metrics(Path(folder, stage, "metrics.jsonl"))
    assert all(row.pop("seconds") > 0 for row in rows)
    return rows


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory with a small data set in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAE_JAX_DATA", raising=False)
    write_data()
    return tmp_path


@pytest.fixture
def call(here, capfd, monkeypatch):
    """Call the command in this process: status, what it printed, what it complained of."""
    # drawing takes longer than training; the run of `whole` draws
    monkeypatch.setattr(stacked_report, "draw", lambda *_: [])

    def call(*argv):
        status = command.run(pretrain.main, argv)
        out, err = capfd.readouterr()
        return status, out, err

    return call


@pytest.fixture
def run(call):
    """The same with the small run's flags, in the run directory r; further flags win."""
    return partial(call, *SMALL, "--run-dir", "r")


def one_for_all(tmp_path_factory, *flags):
    """A run that several tests look at, and what `training.fit` was given in it."""
    folder, fits, told = tmp_path_factory.mktemp("run"), [], io.StringIO()
    real = training.fit

    def spy(cost, state, data, key, **how):
        fits.append(SimpleNamespace(data=jax.tree.map(np.array, data), **how))
        return real(cost, state, data, key, **how)

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(told):
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.chdir(folder)
        patch.setattr(training, "fit", spy)
        write_data()
        assert command.run(pretrain.main, [*SMALL, "--run-dir", "r", *flags]) == 0
    return SimpleNamespace(run=folder / "r", fits=fits, out=told.getvalue(), data=folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The small run, never interrupted."""
    return one_for_all(tmp_path_factory)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """The small run of three seeds, one more than there are devices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacked_report, "draw", lambda *_: [])
        return one_for_all(tmp_path_factory, "--seeds", "3")


def assert_same_run(one, other):
    """Two runs came to the same: models to the bit, metrics but for the clock."""
    one, other = Path(one), Path(other)
    models = {name for name in files(one) if name.endswith(".safetensors")}
    assert models == {name for name in files(other) if name.endswith(".safetensors")}
    for name in models:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    for stage in ("layer_1", "layer_2", "finetune"):
        assert metrics(stage, one) == metrics(stage, other)
    for path in other.rglob("results.json"):
        # most tests draw nothing
        mine, others = read(one / path.relative_to(other)), read(path)
        assert mine | {"figures": []} == others | {"figures": []}


# ---- a run, and the same by hand -------------------------------------------------------------


def test_a_run_leaves_its_configuration_numbers_parameters_and_figures(whole):
    figures = {
        f"figures/{name}.png"
        for name in (
            "filters_layer_1",
            "filters_layer_2",
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
    found = read(whole.run / "results.json")
    assert set(found["figures"]) == figures
    assert found["epochs"] == {"layer_1": 3, "layer_2": 3, "finetune": 6}
    assert found["pretraining_costs"] == [
        metrics(f"layer_{k}", whole.run)[-1]["cost"] for k in (1, 2)
    ]
    assert found["test_images"] == 22
    report = read(whole.run / "report.json")
    assert report["members"] == [found]
    assert report["data"]["pretraining_images"] == report["data"]["labelled_images"] == 66
    assert report["data"]["instead_of_mnist"] is False
    assert [row["epoch"] for row in metrics("finetune", whole.run)] == [1, 2, 3, 4, 5, 6]
    with Image.open(whole.run / "figures/filters_layer_2.png") as image:
        about = json.loads(image.text["dae_jax"])
        assert (about["layer"], about["running"]["seed"]) == (2, SEED)
    for words in ("layer 1, epoch 3/3", "layer 2, epoch 3/3", "fine-tuning, epoch 6/6"):
        assert words in whole.out
    assert f"test error {found['test_error']:.2%} of 22 images" in whole.out
    assert whole.out.splitlines()[-1].endswith("run r")


def test_a_models_file_holds_all_that_using_it_takes(whole):
    model, about = checkpoints.load_classifier(whole.run / "model.safetensors")
    assert [layer.W.shape for layer in model.hidden] == [(64, 12), (12, 8)]
    assert model.top.W.shape == (8, 3)
    assert about["class_names"] == ["0", "1", "2"]
    assert (about["pixels"], about["image_shape"], about["integer_pixels"]) == (64, [8, 8], True)
    assert (about["pixel_scale"], about["seed"]) == (255, SEED)


def by_hand(cost, params, batches, optimizer, key, epochs):
    """Plain descent: the parameters after each epoch, and its mean cost."""

    @jax.jit
    def step(params, state, batch, key):
        value, gradient = jax.value_and_grad(cost)(params, batch, key)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    state = optimizer.init(params)
    for epoch in range(epochs):
        costs = []
        for i, batch in enumerate(batches):
            draw = jax.random.fold_in(jax.random.fold_in(key, epoch), i)
            params, state, value = step(params, state, batch, draw)
            costs.append(float(value))
        yield params, np.mean(costs)


def in_batches(*arrays):
    """Minibatches in the order of the file, the remainder dropped."""
    n = len(arrays[0]) // BATCH * BATCH
    parts = [np.split(a[:n], n // BATCH) for a in arrays]
    return list(zip(*parts, strict=True)) if len(arrays) > 1 else parts[0]


def layers_by_hand(x, hidden=(12, 8), epochs=3):
    """The layers pretrained on images (n, 64) in [0, 1], and all their costs."""
    layers, costs = stacked.init_tutorial(SEED, 64, hidden), []
    for k, level in enumerate(LEVELS[: len(hidden)]):

        def denoising(params, batch, key, level=level):
            return autoencoder.cost(params, batch, corruption.mask(key, batch, level))

        key = jax.random.fold_in(jax.random.key(SEED), k)
        told = list(by_hand(denoising, layers[k], in_batches(x), optax.sgd(0.1), key, epochs))
        costs.append([cost for _, cost in told])
        layers[k] = told[-1][0]
        # the next layer's inputs are clean, whatever this one learned from
        x = np.asarray(autoencoder.encode(layers[k], x))
    return layers, costs


def finetuned_by_hand(layers, data, epochs=6, optimizer=None, cost=stacked.cost, **how):
    """The model after each epoch, its cost, and its share of validation images that are wrong."""
    batches = in_batches(data.train.images, data.train.labels)
    cost = partial(cost, pixel_scale=jnp.float32(255), **how)
    first = stacked.classifier(layers, 64, 3)
    key = jax.random.fold_in(jax.random.key(SEED), len(layers))
    for model, value in by_hand(cost, first, batches, optimizer or optax.sgd(0.5), key, epochs):
        yield model, value, wrong(model, data.valid)


def wrong(model, split):
    if not len(split.images):
        return None
    logits = stacked.logits(model, np.float32(split.images) / np.float32(255))
    return float(np.mean(np.argmax(np.asarray(logits), axis=1) != split.labels))


def small_data(folder="."):
    return datasets.load(Path(folder, "small.npz"), valid_fraction=0.2)


def assert_close(got, want):
    # float32 steps in two different programs
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), got, want)


def test_the_run_is_that_of_a_plain_loop_which_keeps_the_best_model(whole):
    data = small_data(whole.data)
    layers, costs = layers_by_hand(np.float32(data.train.images) / np.float32(255))
    for k, expected in enumerate(costs):
        saved = checkpoints.load_params(whole.run / f"layer_{k + 1}.safetensors")
        assert_close(saved, layers[k])
        told = [row["cost"] for row in metrics(f"layer_{k + 1}", whole.run)]
        np.testing.assert_allclose(told, expected, rtol=1e-4)
    models, costs, errors = zip(*finetuned_by_hand(layers, data), strict=True)
    rows = metrics("finetune", whole.run)
    np.testing.assert_allclose([row["cost"] for row in rows], costs, rtol=1e-4)
    assert [row["valid_error"] for row in rows] == [[error] for error in errors]
    best = int(np.argmin(errors))
    assert 0 < best < 5  # or the last would be the best, and keeping it no merit
    model, _ = checkpoints.load_classifier(whole.run / "model.safetensors")
    assert_close(model, models[best])
    for mine, pretrained in zip(model.hidden, layers, strict=True):
        assert np.abs(mine.W - pretrained.W).max() > 0.01  # fine-tuning is of all layers
    found = read(whole.run / "results.json")
    assert found["best_epoch"] == best + 1
    assert found["valid_error"] == errors[best]
    assert found["test_error"] == wrong(models[best], data.test)


def test_layer_2_learns_from_the_clean_codes_of_layer_1(whole):
    first, second, finetuning = whole.fits
    images = small_data(whole.data).train.images
    np.testing.assert_array_equal(first.data, images)
    layer = checkpoints.load_params(whole.run / "layer_1.safetensors")
    clean = autoencoder.encode(layer, np.float32(images) / np.float32(255))
    np.testing.assert_allclose(second.data[0], clean, rtol=1e-5)
    np.testing.assert_array_equal(finetuning.data[0], images)


def test_several_seeds_are_each_the_run_alone(sweep, whole, run):
    last = SEED + 2
    assert run("--seed", str(last))[0] == 0
    for alone, seed in ((whole.run, SEED), (Path("r"), last)):
        member = sweep.run / f"seed_{seed}"
        for name in ("layer_1.safetensors", "layer_2.safetensors", "model.safetensors"):
            mine, single = load_file(member / name), load_file(alone / name)
            assert set(mine) == set(single)
            for tensor, value in single.items():
                np.testing.assert_array_equal(mine[tensor], value)
        mine, single = read(member / "results.json"), read(alone / "results.json")
        for field in ("seed", "best_epoch", "valid_error", "test_error", "pretraining_costs"):
            assert mine[field] == single[field]


def test_a_sweep_tells_the_mean_of_its_seeds(sweep):
    report = read(sweep.run / "report.json")
    assert [member["seed"] for member in report["members"]] == [SEED, SEED + 1, SEED + 2]
    errors = [member["test_error"] for member in report["members"]]
    mean = sum(errors) / 3
    deviation = (sum((error - mean) ** 2 for error in errors) / 2) ** 0.5
    assert report["test_error"] == pytest.approx({"mean": mean, "sd": deviation})
    told = f"{mean:.3%} mean, {deviation:.3%} standard deviation, 3 seeds"
    assert f"test error: {told}" in sweep.out


# ---- interrupted, and gone on ----------------------------------------------------------------


def interrupted_at(monkeypatch, stage, epoch, how):
    """Let `how` happen in the middle of a stage, counted from 0: after an epoch, untold."""
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


@pytest.mark.parametrize("stage", [0, 1, 2], ids=["layer_1", "layer_2", "finetune"])
def test_an_interrupted_run_goes_on_to_the_same_bits(run, call, whole, monkeypatch, stage):
    with monkeypatch.context() as patch:
        interrupted_at(patch, stage, 3, ctrl_c_twice)
        assert run()[0] == 130
    assert {f"layer_{k}.safetensors" for k in range(1, 3) if k <= stage} == {
        name for name in files("r") if name.endswith(".safetensors")
    }
    status, out, err = call("--resume", "--run-dir", "r")
    assert (status, err) == (0, "")
    name = ["layer 1", "layer 2", "fine-tuning"][stage]
    # epochs pass faster than the second between checkpoints
    assert f"{name}: going on after epoch 1 of" in out
    # what was finished before is not trained again
    for done in ["layer 1", "layer 2"][:stage]:
        assert f"{done}, epoch" not in out
    assert_same_run("r", whole.run)


def test_one_ctrl_c_stops_a_sweep_after_the_epoch_and_says_how_to_go_on(
    run, call, sweep, monkeypatch
):
    with monkeypatch.context() as patch:
        interrupted_at(patch, 1, 2, partial(signal.raise_signal, signal.SIGINT))
        status, out, err = run("--seeds", "3")
    assert status == 130 and "Traceback" not in err
    told = "stopped after layer 2, epoch 2; go on with:  python -m dae_jax.pretrain "
    assert told in out
    go_on = out.split(told)[1].split()
    assert go_on == ["--resume", "--run-dir", "r"]
    status, out, _ = call(*go_on)
    assert status == 0 and "layer 2: going on after epoch 2 of 3" in out
    assert_same_run("r", sweep.run)


def test_kill_9_then_resume_ends_in_the_same_bits(here, call, whole):
    code = (
        "import os, signal, sys\n"
        "from dae_jax import pretrain, training\n"
        "real, begun = training.fit, []\n"
        "def fit(*args, **kwargs):\n"
        "    begun.append(1)\n"
        "    for report in real(*args, **kwargs):\n"
        "        if (len(begun), report.epoch) == (2, 3):\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        yield report\n"
        "training.fit = fit\n"
        "sys.exit(pretrain.cli())\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, *SMALL, "--run-dir", "r"],
        cwd=here,
        env=os.environ | {"PYTHONPATH": str(Path(pretrain.__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert "layer_1.safetensors" in files("r") and "layer_2.safetensors" not in files("r")
    assert call("--resume", "--run-dir", "r")[0] == 0
    assert_same_run("r", whole.run)


def test_a_crash_between_the_files_of_two_members_loses_nothing(call, sweep):
    shutil.copytree(sweep.run, "r")
    for name in (f"seed_{SEED + 1}/layer_2.safetensors", f"seed_{SEED + 2}/layer_2.safetensors"):
        Path("r", name).unlink()
    for path in Path("r").glob("seed_*/model.safetensors"):
        path.unlink()
    shutil.rmtree("r/finetune")
    status, out, _ = call("--resume", "--run-dir", "r")
    assert status == 0 and "layer 2: going on after epoch 3 of 3" in out
    assert_same_run("r", sweep.run)


def test_resuming_a_finished_run_only_reports_again(call, whole):
    shutil.copytree(whole.run, "r")
    status, out, _ = call("--resume", "--run-dir", "r")
    assert status == 0 and "epoch 1/" not in out
    assert_same_run("r", whole.run)
    typed = " ".join(["python -m dae_jax.pretrain", *SMALL, "--run-dir r"])
    assert read("r/report.json")["command"] == typed


def test_more_epochs_of_fine_tuning_go_on_from_fewer(run, call, whole):
    assert run("--finetune-epochs", "3")[0] == 0
    assert [row["epoch"] for row in metrics("finetune")] == [1, 2, 3]
    status, out, _ = call("--run-dir", "r", "--resume", "--finetune-epochs", "6")
    assert status == 0 and "fine-tuning: going on after epoch 3 of 6" in out
    assert_same_run("r", whole.run)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ("--hidden 12 9", "--hidden is 12 8 there, 12 9 here"),
        ("--corruption 0.2", "--corruption is 0.2 0.3 there, 0.2 here"),
        ("--pretrain-epochs 4", "--pretrain-epochs is 3 there, 4 here"),
        ("--finetune-epochs 5", "--finetune-epochs is 6 there, 5 here"),
        ("--dropout 0 0.5", "--dropout is 0 0 there, 0 0.5 here"),
        ("--seeds 2", "--seeds is 1 there, 2 here"),
        ("--freeze", "--freeze is False there, True here"),
        ("--preset best", "--preset is tutorial there, best here"),
    ],
)
def test_resuming_with_other_settings_is_refused_and_changes_nothing(call, whole, flags, told):
    shutil.copytree(whole.run, "r")
    before = {name: Path("r", name).read_bytes() for name in files("r")}
    status, _, err = call("--resume", "--run-dir", "r", *flags.split())
    assert status == 2 and err.count("\n") == 1 and told in err
    assert before == {name: Path("r", name).read_bytes() for name in files("r")}


def test_a_folder_that_holds_a_run_is_left_alone(run, whole):
    shutil.copytree(whole.run, "r")
    before = {name: Path("r", name).read_bytes() for name in files("r")}
    status, _, err = run()
    assert status == 2 and "r holds a run already; pass --resume" in err
    assert before == {name: Path("r", name).read_bytes() for name in files("r")}


def test_a_layer_that_lies_there_without_a_run_is_not_taken_for_this_ones(run, sweep, whole):
    Path("r").mkdir()
    shutil.copy(sweep.run / f"seed_{SEED + 1}" / "layer_1.safetensors", "r")
    assert run()[0] == 0
    assert_same_run("r", whole.run)


# ---- the flags of fine-tuning ----------------------------------------------------------------


def test_a_frozen_stack_keeps_its_pretrained_layers_to_the_bit(run, whole):
    assert run("--freeze")[0] == 0
    model = load_file("r/model.safetensors")
    for k in range(2):
        layer = load_file(f"r/layer_{k + 1}.safetensors")
        before = load_file(whole.run / f"layer_{k + 1}.safetensors")
        for name in ("W", "b"):
            np.testing.assert_array_equal(model[f"hidden.{k}.{name}"], layer[name])
            np.testing.assert_array_equal(layer[name], before[name])
    assert np.abs(model["top.W"]).max() > 1e-3


def with_penalty(model, batch, key, **how):
    W = [layer.W for layer in (*model.hidden, model.top)]
    return stacked.cost(model, batch, key, **how) + 0.005 * sum(jnp.sum(w**2) for w in W)


def halved(n):
    """A learning rate that is halved after every epoch of 6 minibatches."""
    return 0.2 * 0.5 ** (n // 6)


FINETUNING = {
    "momentum and decay": (
        "--finetune-optimizer momentum --learning-rate-decay 0.5 --finetune-learning-rate 0.2",
        dict(optimizer=optax.sgd(halved, momentum=0.9)),
    ),
    "adam and weight decay": (
        "--finetune-optimizer adam --weight-decay 0.01 --finetune-learning-rate 0.01",
        dict(optimizer=optax.adam(0.01), cost=with_penalty),
    ),
}


@pytest.mark.parametrize("name", FINETUNING)
def test_the_flags_of_fine_tuning_do_what_a_plain_loop_with_them_does(run, name):
    flags, how = FINETUNING[name]
    # Optax's schedules and Adam mix integer step counts with floats, which is their business.
    with jax.numpy_dtype_promotion("standard"):
        # nothing is held out, so that the last model is the one to compare
        status, _, err = run(*LATER, "--valid-fraction", "0", *flags.split())
        assert (status, err) == (0, "")
        layers = stacked.init_tutorial(SEED, 64, [12])
        data = datasets.load("small.npz", valid_fraction=0)
        told = list(finetuned_by_hand(layers, data, **how))
    model, _ = checkpoints.load_classifier("r/model.safetensors")
    assert_close(model, told[-1][0])
    if "weight" not in name:  # the metrics are of the cost without its penalty
        costs = [row["cost"] for row in metrics("finetune")]
        np.testing.assert_allclose(costs, [cost for _, cost, _ in told], rtol=1e-4)


def test_dropout_reaches_the_cost(run, monkeypatch):
    asked = []
    # as if stopped at once: nothing is trained
    monkeypatch.setattr(runs, "train", lambda stage, cost, *_, **__: asked.append(cost.keywords))
    for folder, dropout in (("a", "0.1 0.4"), ("b", "0 0")):
        flags = [*LATER, "--run-dir", folder, "--dropout", *dropout.split()]
        assert run(*flags)[0] == 130
    np.testing.assert_allclose(np.ravel(asked[0]["dropout"]), [0.1, 0.4], rtol=1e-6)
    assert "dropout" not in asked[1]  # and none costs no random numbers


def test_shifted_images_reach_the_cost_where_they_are_asked_for(run, monkeypatch):
    seen = []
    monkeypatch.setattr(
        augmentation, "shift", lambda key, images, *how: seen.append(how) or 255 - images
    )
    shape = datasets.load("small.npz").image_shape
    errors, moved = [], []
    for folder, flags in (("a", ["--shift", "2"]), ("b", [])):
        assert run(*LATER, "--run-dir", folder, "--finetune-epochs", "2", *flags)[0] == 0
        errors.append([row["cost"] for row in metrics("finetune", folder)])
        moved.append(set(seen))
        seen.clear()
    assert moved == [{(shape, 2)}, set()]
    assert errors[0] != errors[1]


def test_vectors_have_nowhere_to_move(run):
    rng = np.random.default_rng(0)
    np.savez("vectors.npz", x=rng.random((110, 65), np.float32), y=np.arange(110) % 3)
    status, _, err = run(*LATER, "--data", "vectors.npz", "--shift", "1")
    assert status == 2 and "--shift: expected 0 for images of 65 values, got 1" in err


def test_without_validation_images_all_epochs_count_and_the_last_model_is_kept(run):
    status, out, _ = run(*LATER, "--valid-fraction", "0", "--finetune-epochs", "15")
    assert status == 0 and "nothing was held out to test with" in out
    rows = metrics("finetune")
    assert [row["epoch"] for row in rows] == list(range(1, 16))
    assert not {"valid_error", "best_epoch", "test_error"} & {*rows[0], *read("r/results.json")}


def test_patience_ends_a_run_that_gets_no_better_and_resuming_does_not_go_on(run, call):
    assert run(*LATER, "--finetune-epochs", "50", "--finetune-learning-rate", "1e-9")[0] == 0
    found = read("r/results.json")
    assert (found["epochs"]["finetune"], found["best_epoch"]) == (10, 1)
    model = Path("r/model.safetensors").read_bytes()
    status, out, _ = call("--resume", "--run-dir", "r")
    assert status == 0 and "epoch 11/50" not in out
    assert Path("r/model.safetensors").read_bytes() == model
    assert len(metrics("finetune")) == 10


# ---- presets ---------------------------------------------------------------------------------


def configuration(monkeypatch, run, *flags):
    """What a run would be, told by its config.json: it stops before any training."""
    from dae_jax.runs import stack as stages

    with monkeypatch.context() as patch:
        patch.setattr(stages, "pretrain", lambda run: None)
        assert run(*flags)[0] == 130
    return config.from_json(pretrain_config.Config, json.loads(Path("r/config.json").read_text()))


def test_a_preset_sets_what_is_not_given_and_nothing_else(run, monkeypatch):
    usual = pretrain_config.Config()
    recipe = replace(
        usual,
        preset="best",
        finetuning=replace(usual.finetuning, weight_decay=0.125, dropout=(0.1, 0.25)),
        pretraining=replace(usual.pretraining, noise=("gaussian",), shuffle=True),
    )
    monkeypatch.setitem(pretrain_config.PRESETS, "best", recipe)
    got = configuration(monkeypatch, run, "--preset", "best", "--dropout", "0", "0")
    assert got.preset == "best"
    # a flag counts, though it asks for what is usual without the recipe
    assert got.finetuning.dropout == (0, 0)
    assert got.finetuning.weight_decay == 0.125
    assert (got.pretraining.noise, got.pretraining.shuffle) == (("gaussian",), True)
    assert got.stack.hidden == (12, 8) and got.pretraining.corruption == LEVELS


@pytest.mark.parametrize("name", pretrain_config.PRESETS)
def test_every_recipe_is_one_that_can_be_run(name):
    recipe = pretrain_config.PRESETS[name]
    assert recipe.preset == name
    pretrain_config.validate(recipe)
    training.optimiser(recipe.finetuning.finetune_optimizer, 0.1)


def test_the_tutorials_recipe_is_the_tutorials():
    recipe = pretrain_config.PRESETS["tutorial"]
    assert recipe.stack == pretrain_config.Stack((1000, 1000, 1000), "tutorial")
    assert [recipe.layer(k)["corruption"] for k in range(3)] == [0.1, 0.2, 0.3]
    assert recipe.running.seed == 89677
    assert pretrain_config.default_epochs("mnist", 50_000, 20) == 15


# ---- images without labels -------------------------------------------------------------------


def test_images_without_labels_are_for_pretraining_alone(run):
    write_data("more.npz", n=50)
    epochs = ("--pretrain-epochs", "1", "--finetune-epochs", "1")
    status, out, _ = run("--unlabelled", "more.npz", *ONE_LAYER, *epochs)
    assert status == 0
    assert "50 images without labels for pretraining, from more.npz" in out
    data = small_data()
    more = np.load("more.npz")["x"].reshape(50, 64)
    x = np.concatenate([data.train.images, more]).astype(np.float32) / np.float32(255)
    layers, [[cost]] = layers_by_hand(x, [12], epochs=1)
    np.testing.assert_allclose(metrics("layer_1")[0]["cost"], cost, rtol=1e-4)
    counts = read("r/report.json")["data"]
    assert (counts["pretraining_images"], counts["labelled_images"]) == (116, 66)
    ((model, cost, _),) = finetuned_by_hand(layers, data, epochs=1)
    np.testing.assert_allclose(metrics("finetune")[0]["cost"], cost, rtol=1e-4)
    assert_close(checkpoints.load_classifier("r/model.safetensors")[0], model)


UNLABELLED = {
    "another size": (np.zeros((9, 9, 9), np.uint8), "images of 8 x 8"),
    "another shape of as many pixels": (np.zeros((9, 4, 16), np.uint8), "images of 8 x 8"),
    "another kind": (np.zeros((9, 8, 8), np.float32), "uint8 pixels"),
    "NaN": (np.full((9, 8, 8), np.nan, np.float32), "NaN"),
}


@pytest.mark.parametrize("name", UNLABELLED)
def test_other_images_without_labels_are_refused(run, name):
    images, told = UNLABELLED[name]
    np.save("more.npy", images)
    status, _, err = run("--unlabelled", "more.npy")
    assert status == 2 and err.count("\n") == 1
    assert told.lower() in err.lower()
    assert files() == {"small.npz", "more.npy"}


def test_images_without_labels_have_their_range_looked_at_too(run):
    rng = np.random.default_rng(0)
    np.savez("floats.npz", x=rng.random((60, 8, 8), np.float32), y=np.arange(60) % 3)
    np.save("more.npy", 5 * rng.random((60, 8, 8), np.float32))
    status, _, err = run(
        "--data", "floats.npz", "--unlabelled", "more.npy", *LATER, "--finetune-epochs", "1"
    )
    assert status == 2 and "values in [0, 1]" in err and err.count("\n") == 1
    assert not Path("r").exists()


# ---- classes ---------------------------------------------------------------------------------


def test_classes_with_names_are_numbered_and_it_is_said(run):
    write_data("pets.npz", labels=("dog", "cat", "newt"))
    status, out, _ = run("--data", "pets.npz", *LATER, "--finetune-epochs", "1")
    assert status == 0
    assert "classes: cat = 0, dog = 1, newt = 2" in out
    _, about = checkpoints.load_classifier("r/model.safetensors")
    assert about["class_names"] == ["cat", "dog", "newt"]


def test_classes_that_are_numbers_need_no_word(run, whole):
    assert "classes:" not in whole.out
    write_data("odd.npz", labels=(3, 5, 9))
    _, out, _ = run("--data", "odd.npz", *LATER, "--finetune-epochs", "1")
    assert "classes: 3 = 0, 5 = 1, 9 = 2" in out


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
def test_bad_data_is_one_line_and_status_2_and_writes_nothing(run, name):
    arrays, told = BAD_DATA[name]
    np.savez("bad.npz", **arrays)
    flags = [] if "x_test" in arrays else ["--valid-fraction", "0.1"]
    small = [*SMALL[:2], *SMALL[4:]]
    status, out, err = run.func(*small, "--data", "bad.npz", "--run-dir", "r", *flags)
    assert status == 2
    assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in out + err
    assert told.lower() in err.lower()
    assert files() == {"small.npz", "bad.npz"}


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
def test_bad_flags_are_one_line_and_status_2_and_write_nothing(run, name):
    flags, told = BAD[name]
    status, out, err = run(*flags.split())
    assert status == 2
    assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in out + err
    assert told in err
    assert files() == {"small.npz"}


# ---- training that diverges ------------------------------------------------------------------


def test_a_layer_that_diverges_is_named_and_those_below_are_kept(run, call):
    flags = "--cost cross-entropy squared-error --decoder sigmoid linear"
    status, _, err = run(*flags.split(), "--pretrain-learning-rate", "0.1", "1e9")
    assert status == 2 and err.count("\n") == 1
    assert "layer 2 training diverged in epoch" in err
    assert "lower --pretrain-learning-rate, which is 1e+09" in err
    assert "layer_1.safetensors" in files("r")
    assert not {"layer_2.safetensors", "model.safetensors"} & files("r")


def test_fine_tuning_that_diverges_keeps_the_last_good_checkpoint(run, call, monkeypatch):
    real = training.fit

    def soured(*args, epochs, **how):
        for report in real(*args, epochs=epochs, **how):
            bad = epochs == 6 and report.epoch == 3
            yield report._replace(finite=not bad, cost=report.cost * (np.nan if bad else 1))

    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", soured)
        status, _, err = run(*LATER)
    assert status == 2 and err.count("\n") == 1
    assert "fine-tuning training diverged in epoch 3: the cost is nan" in err
    assert "(the checkpoint of epoch 1 is kept)" in err
    assert "lower --finetune-learning-rate, which is 0.5" in err
    assert [row["epoch"] for row in metrics("finetune")] == [1, 2]
    assert not Path("r/model.safetensors").exists()
    status, out, _ = call("--resume", "--run-dir", "r")
    assert status == 0 and "going on after epoch 1 of 6" in out


def test_help_shows_groups_defaults_and_ranges(capfd):
    with pytest.raises(SystemExit) as stop:
        command.run(pretrain.main, ["--help"])
    assert stop.value.code == 0
    out = capfd.readouterr().out
    for word in ("stack options", "finetuning options", "(default: 89677)", "[0, 1)", "--preset"):
        assert word in out


def test_debug_shows_the_traceback(here):
    assert "levels in" in refused(
        lambda: command.run(pretrain.main, ["--corruption", "2", "--debug"])
    )
