"""`pretrain --from-run`: the same bits without pretraining, other data, damaged layers."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from dae_jax import training
from dae_jax.runs import arms, saved, stack
from helpers import assert_one_line, contents, files, read_json
from small_stack import BATCH, SEED, SHARE, metrics, write_data

TUNE = (
    *("--finetune-epochs", "6", "--finetune-batch-size", str(BATCH)),
    *("--finetune-learning-rate", "0.5"),
)
LAYERS = ("layer_1.safetensors", "layer_2.safetensors")


@pytest.fixture
def tune(pretrain_call, whole):
    """Fine-tune, into b, the layers of a copy a of the small stack's run."""
    shutil.copytree(whole.run, "a")
    return lambda *argv: pretrain_call("--from-run", "a", "--run-dir", "b", *TUNE, *argv)


@pytest.fixture
def untuned(tune, monkeypatch):
    """The same, stopped before fine-tuning, which takes no time."""
    monkeypatch.setattr(stack, "finetune", lambda *_: None)
    return tune


def assert_same_tensors(one, other):
    one, other = load_file(one), load_file(other)
    assert set(one) == set(other)
    for name, value in other.items():
        np.testing.assert_array_equal(one[name], value)


# ---- the same run, without pretraining -------------------------------------------------------


def test_fine_tuning_is_that_of_the_whole_command_to_the_bit(tune, whole):
    status, out, err = tune("--data", "small.npz", *SHARE)
    assert (status, err) == (0, "")
    assert "pretrained layers: those of a, trained on small" in out and "layer 1, epoch" not in out
    for name in LAYERS:
        assert Path("b", name).read_bytes() == (whole.run / name).read_bytes()
    assert_same_tensors("b/model.safetensors", whole.run / "model.safetensors")
    assert metrics("finetune", "b") == metrics("finetune", whole.run)
    mine, others = read_json("b/results.json"), read_json(whole.run / "results.json")
    for name in ("seed", "best_epoch", "valid_error", "test_error", "test_images"):
        assert mine[name] == others[name]
    assert mine["epochs"] == {"layer_1": 0, "layer_2": 0, "finetune": 6}


def test_the_run_says_where_its_layers_are_from_and_needs_the_other_no_more(tune, pretrain_call):
    assert tune().status == 0
    record = read_json("b/from_run.json")
    assert record["run"] == str(Path("a").resolve()) and record["data"] == "small"
    assert set(record["sha256"]) == set(LAYERS)
    report = read_json("b/report.json")
    assert report["from_run"] == record and report["data"]["pretraining_images"] == 0
    assert read_json("b/config.json")["pretraining"]["from_run"] == "a"
    assert saved.load("b/model.safetensors").card.config["pretraining"]["from_run"] == "a"
    shutil.rmtree("a")
    before = contents("b")
    status, out, err = pretrain_call("--resume", "--run-dir", "b", "--from-run", "a")
    assert (status, err) == (0, "") and "fine-tuning, epoch" not in out
    for name in (*LAYERS, "model.safetensors", "from_run.json"):
        assert Path("b", name).read_bytes() == before[name]


@pytest.mark.slow
@pytest.mark.parametrize("other_run", ["kept", "removed"])
def test_an_interrupted_run_resumes_to_the_same_bits(
    tune, pretrain_call, whole, monkeypatch, other_run
):
    real = training.fit

    def fit(*args, **kwargs):
        for report in real(*args, **kwargs):
            if report.epoch == 4:
                raise KeyboardInterrupt
            yield report

    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", fit)
        assert tune().status == 130
    if other_run == "removed":
        shutil.rmtree("a")
    status, out, _ = pretrain_call("--resume", "--run-dir", "b")
    assert status == 0 and "fine-tuning: resuming after epoch 1 of 6" in out
    assert_same_tensors("b/model.safetensors", whole.run / "model.safetensors")
    assert metrics("finetune", "b") == metrics("finetune", whole.run)


@pytest.mark.slow
def test_a_run_that_was_stopped_in_fine_tuning_has_layers_to_take(tune, whole):
    shutil.rmtree("a/finetune")
    for name in ("model.safetensors", "results.json", "report.json"):
        Path("a", name).unlink()
    assert tune().status == 0
    assert_same_tensors("b/model.safetensors", whole.run / "model.safetensors")


def test_layers_are_handed_on_from_run_to_run(untuned, pretrain_call):
    assert untuned().status == 130
    assert pretrain_call("--from-run", "b", "--run-dir", "c").status == 130
    mine, first = (read_json(f"{run}/from_run.json") for run in ("c", "b"))
    assert mine["sha256"] == first["sha256"] and mine["run"] == str(Path("b").resolve())


# ---- resuming with other layers --------------------------------------------------------------


def test_a_copy_that_has_changed_is_not_resumed_with(untuned, pretrain_call, whole):
    assert untuned().status == 130
    layer = load_file("b/layer_2.safetensors")
    save_file(layer | {"b": layer["b"] + 1}, "b/layer_2.safetensors")
    status, _, err = pretrain_call("--resume", "--run-dir", "b")
    assert status == 2
    assert_one_line(err, "layers in b: expected those that the run in b began with", "got others")


def test_a_missing_copy_is_made_again_but_only_of_the_same_layers(untuned, pretrain_call, whole):
    assert untuned().status == 130
    Path("b/layer_2.safetensors").unlink()
    assert pretrain_call("--resume", "--run-dir", "b").status == 130
    for name in LAYERS:
        assert Path("b", name).read_bytes() == (whole.run / name).read_bytes()
    Path("b/layer_2.safetensors").unlink()
    layer = load_file("a/layer_1.safetensors")
    save_file(layer | {"b": layer["b"] + 1}, "a/layer_1.safetensors")
    status, _, err = pretrain_call("--resume", "--run-dir", "b")
    assert status == 2
    assert_one_line(err, "layers in a: expected those that the run in b began with", "got others")


def test_a_run_that_was_killed_before_its_layers_were_copied_resumes(untuned, pretrain_call):
    assert untuned().status == 130
    for name in ("from_run.json", *LAYERS):
        Path("b", name).unlink()
    assert pretrain_call("--resume", "--run-dir", "b").status == 130
    assert {"from_run.json", *LAYERS} <= files("b")


def test_another_run_to_take_the_layers_from_is_another_run(untuned, pretrain_call):
    assert untuned().status == 130
    status, _, err = pretrain_call("--resume", "--run-dir", "b", "--from-run", "c")
    assert status == 2
    assert_one_line(err, "--from-run is a there, c here")


# ---- other data and seeds --------------------------------------------------------------------


@pytest.mark.slow
def test_other_classes_and_fewer_images_than_a_minibatch_of_pretraining(tune):
    write_data("pets.npz", n=18, labels=("dog", "cat"))
    status, _, err = tune("--data", "pets.npz", "--finetune-batch-size", "5")
    assert (status, err) == (0, "")
    assert saved.load("b/model.safetensors").card.class_names == ("cat", "dog")
    assert read_json("b/report.json")["data"]["name"] == "pets"


def test_a_folder_of_images_is_resized_to_those_of_the_layers(untuned, pretrain_call):
    rng = np.random.default_rng(0)
    for i in range(40):
        path = Path(f"photos/{'cat' if i % 2 else 'dog'}/{i}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 12), np.uint8)).save(path)
    assert untuned("--data", "photos").status == 130
    assert read_json("b/config.json")["data"]["image_size"] == [8, 8]
    assert pretrain_call("--resume", "--run-dir", "b").status == 130
    status, _, err = untuned("--data", "photos", "--image-size", "9", "8", "--run-dir", "c")
    assert status == 2
    assert_one_line(err, "--data photos: expected images of 8 x 8", "leave --image-size out")


@pytest.mark.slow
def test_each_seed_takes_the_layers_of_the_same_seed(tune, pretrain_call, sweep):
    seed = SEED + 1
    shutil.copytree(sweep.run, "three")
    one = ("--seed", str(seed), "--seeds", "1", *TUNE)
    assert pretrain_call("--from-run", "three", "--run-dir", "b", *one).status == 0
    for name in LAYERS:
        theirs = (sweep.run / f"seed_{seed}" / name).read_bytes()
        assert Path("b", name).read_bytes() == theirs
    assert_same_tensors("b/model.safetensors", sweep.run / f"seed_{seed}" / "model.safetensors")


def test_the_layers_of_a_single_seed_serve_all(untuned, whole):
    assert untuned("--seed", "3", "--seeds", "2").status == 130
    for seed in (3, 4):
        for name in LAYERS:
            mine = Path(f"b/seed_{seed}", name).read_bytes()
            assert mine == (whole.run / name).read_bytes()


def test_a_comparison_takes_the_layers_as_its_pretrained_network(tune, whole, monkeypatch):
    used = {}

    def train(task, name, rate):
        used[name] = task.layers["pretrained"]

    monkeypatch.setattr(arms, "train", train)
    flags = ("--compare", "--seeds", "2", "--labels", "9", "--arms", "pretrained")
    assert tune(*flags).status == 130
    layer = saved.load_layer(whole.run / "layer_1.safetensors")
    for i in range(2):
        np.testing.assert_array_equal(used["pretrained"][0].W[i], layer.W)


@pytest.mark.slow
def test_the_report_of_a_comparison_says_where_its_layers_are_from(tune):
    labels = ("--labels", "9", "--seeds", "2", "--rates", "0.1", "--cap", "1")
    labels += ("--arms", "pretrained", "majority-class")
    assert tune("--compare", *labels).status == 0
    report = read_json("b/compare.json")
    assert report["from_run"] == read_json("b/from_run.json")
    assert report["pretraining_images"] == 0


# ---- refused ---------------------------------------------------------------------------------


def cut(path):
    path.write_bytes(path.read_bytes()[:200])


def with_tensors(path, **tensors):
    save_file(load_file(path) | tensors, path)


DAMAGE = {
    "missing": (Path.unlink, "expected a run that has finished pretraining, got none of its"),
    "cut": (cut, "cannot read a model from a/layer_2.safetensors"),
    "empty": (lambda path: path.write_bytes(b""), "cannot read a model"),
    "another layer": (
        lambda path: shutil.copy("a/layer_1.safetensors", path),
        "expected finite weights of 12 inputs and 8 units, got others",
    ),
    "a classifier": (
        lambda path: shutil.copy("a/model.safetensors", path),
        "expected the tensors of a dA, got a classifier",
    ),
    "another bias": (lambda path: with_tensors(path, b=np.zeros(9, np.float32)), "and 8 units"),
    "not finite": (
        lambda path: with_tensors(path, b=np.full(8, np.nan, np.float32)),
        "expected finite floats",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_missing_and_damaged_layers_are_refused_before_anything_is_written(tune, name):
    damage, words = DAMAGE[name]
    damage(Path("a/layer_2.safetensors"))
    status, _, err = tune()
    assert status == 2
    assert_one_line(err, "--from-run", "layer_2.safetensors", words)
    assert err.endswith("python -m dae_jax.pretrain --resume --run-dir a\n")
    assert not Path("b").exists()


@pytest.mark.slow
def test_a_damaged_layer_is_pretrained_again_as_the_error_advises(tune, pretrain_call, whole):
    cut(Path("a/layer_2.safetensors"))
    assert tune().status == 2
    Path("a/layer_2.safetensors").unlink()
    assert pretrain_call("--resume", "--run-dir", "a").status == 0
    assert tune().status == 0
    assert_same_tensors("b/model.safetensors", whole.run / "model.safetensors")


def colour():
    write_data("new.npz", shape=(8, 8, 3))


def as_wide():
    write_data("new.npz", shape=(4, 16))


def large_integers():
    rng = np.random.default_rng(0)
    np.savez("new.npz", x=rng.integers(0, 5000, (90, 8, 8)), y=np.arange(90) % 3)


IMAGES = {
    "another size": (lambda: write_data("new.npz", shape=(9, 9)), "of 8 x 8", "got 9 x 9"),
    "another shape of as many pixels": (as_wide, "of 8 x 8", "got 4 x 16"),
    "colour": (colour, "of 8 x 8", "got 8 x 8 x 3"),
    "another range": (large_integers, "in [0, 1]", "as a was pretrained"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_that_the_layers_cannot_take_are_refused(tune, name):
    make, *words = IMAGES[name]
    make()
    status, _, err = tune("--data", "new.npz")
    assert status == 2
    assert_one_line(err, *words)
    assert not Path("b").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--from-run", "nowhere"), "--from-run nowhere: expected the run directory of a stack"),
        (("--from-run", "."), "got no config.json in it"),
        (("--hidden", "12", "9"), "--hidden is 12 8 there, 12 9 here"),
        (("--seeds", "0"), "--seeds: expected a whole number of at least 1"),
        (("--run-dir", "a"), "a holds a run already"),
        (("--finetune-batch-size", "67"), "--finetune-batch-size: expected at most 66"),
    ],
)
def test_bad_flags_are_one_line_and_write_nothing(tune, flags, words):
    before = contents("a")
    status, _, err = tune(*flags)
    assert status == 2
    assert_one_line(err, words)
    assert contents("a") == before and not Path("b").exists()
