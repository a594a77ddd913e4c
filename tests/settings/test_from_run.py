"""The settings of a run with ``--from-run``: those of its layers, of its flags, and defaults."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dae_jax.settings import from_run, ladder, pretrain, shared, train
from dae_jax.settings.pretrain import PRESETS, Data, Pretraining, Running, Settings, Stack
from helpers import refused

THERE = replace(
    PRESETS["best"],
    data=Data("there.npz", 0.25, pixel_scale=256.0, unlabelled="more.npz"),
    stack=Stack((12, 8), "jax"),
    pretraining=Pretraining((0.2, 0.3), pretrain_epochs=(3,), batch_size=16),
    running=Running(seed=5, seeds=3),
)


def write(settings, folder="a"):
    Path(folder).mkdir()
    Path(folder, "config.json").write_text(json.dumps(shared.to_json(settings)))


def inherited(*flags):
    argv = ["--from-run", "a", *flags]
    return from_run.inherited(shared.parse(Settings, argv), argv)


@pytest.mark.usefixtures("here")
def test_flags_that_are_not_given_are_the_other_runs_but_those_of_fine_tuning():
    write(THERE)
    got = inherited()
    expected = replace(THERE.pretraining, from_run="a")
    assert got == replace(
        PRESETS["large-rate"],
        data=THERE.data,
        stack=THERE.stack,
        pretraining=expected,
        running=THERE.running,
    )
    got = inherited("--preset", "tutorial", "--dropout", "0.1", "0.2", "--seeds", "1")
    tuning = PRESETS["tutorial"].finetuning
    assert (got.preset, got.finetuning) == ("tutorial", replace(tuning, dropout=(0.1, 0.2)))
    assert got.pretraining == expected  # not that of the preset
    assert got.seeds == [5]


@pytest.mark.usefixtures("here")
def test_other_data_are_split_by_their_own_flags_and_scaled_like_the_other_runs():
    write(THERE)
    assert inherited("--data", "here.npz").data == Data("here.npz", pixel_scale=256.0)
    got = inherited("--data", "here.npz", "--valid-fraction", "0.5", "--unlabelled", "more.npz")
    assert got.data == Data("here.npz", 0.5, pixel_scale=256.0, unlabelled="more.npz")


@pytest.mark.usefixtures("here")
def test_flags_that_repeat_the_other_runs_are_accepted():
    write(THERE)
    same = "--hidden 12 8 --init jax --corruption 0.2 0.3 --pretrain-epochs 3 --batch-size 16"
    assert inherited(*same.split(), "--pixel-scale", "256") == inherited()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--hidden 12 9", "--hidden is 12 8 there, 12 9 here"),
        ("--init tutorial", "--init is jax there, tutorial here"),
        ("--corruption 0.2", "--corruption is 0.2 0.3 there, 0.2 here"),
        ("--noise gaussian", "--noise is masking there, gaussian here"),
        ("--pretrain-epochs 4", "--pretrain-epochs is 3 there, 4 here"),
        ("--decoder linear --shuffle", "--decoder is sigmoid there, linear here; --shuffle is"),
        ("--pixel-scale 255", "--pixel-scale is 256 there, 255 here"),
        ("--unlabelled other.npz", "--unlabelled is more.npz there, other.npz here"),
        ("--data x.npz --hidden 9", "--hidden is 12 8 there, 9 here"),
    ],
)
@pytest.mark.usefixtures("here")
def test_flags_that_contradict_the_layers_are_refused(flags, words):
    write(THERE)
    refused(lambda: inherited(*flags.split()), words, "layers in a", "leave these flags out")


@pytest.mark.usefixtures("here")
def test_each_seed_needs_layers_there_unless_one_seed_serves_all():
    write(THERE)
    assert inherited("--seed", "6", "--seeds", "2").seeds == [6, 7]
    for flags in ("--seed 6", "--seed 4", "--seeds 4", "--seed 9 --seeds 1"):
        words = ("--seed", "seeds from 5 to 7, those of a", "--seed 5 --seeds 1")
        refused(lambda flags=flags: inherited(*flags.split()), *words)
    assert inherited("--seed", "5", "--seeds", "1").seeds == [5]  # as the error advises
    write(replace(THERE, running=Running(seed=5)), "one")
    argv = ["--from-run", "one", "--seed", "9", "--seeds", "2"]
    assert from_run.inherited(shared.parse(Settings, argv), argv).seeds == [9, 10]


@pytest.mark.usefixtures("here")
def test_double_precision_is_that_of_the_layers_and_the_other_precisions_are_free():
    write(THERE)
    assert inherited("--precision", "bfloat16").running.precision == "bfloat16"
    refused(lambda: inherited("--precision", "float64"), "--precision", "float32, as in a")
    write(replace(THERE, running=Running(precision="float64")), "double")
    argv = ["--from-run", "double"]
    assert from_run.inherited(shared.parse(Settings, argv), argv).running.precision == "float64"
    argv += ["--precision", "float32"]
    refused(lambda: from_run.inherited(shared.parse(Settings, argv), argv), "float64, as in double")


@pytest.mark.usefixtures("here")
def test_a_folder_without_a_run_of_a_stack_is_refused_and_named():
    refused(lambda: from_run.read(Path("a")), "--from-run a", "got no folder", "check the path")
    Path("a").mkdir()
    refused(lambda: from_run.read(Path("a")), "--from-run a", "no config.json in it")
    for content, words in (("{", "expected JSON"), ('{"data": {}}', "got other settings")):
        Path("a/config.json").write_text(content)
        refused(lambda words=words: from_run.read(Path("a")), words)
    for kind, words in ((train, "a run of python -m dae_jax.train"), (ladder, "a ladder network")):
        Path("a/config.json").write_text(json.dumps(shared.to_json(kind.Settings())))
        refused(lambda words=words: from_run.read(Path("a")), "--from-run a", f"got {words}")


@pytest.mark.usefixtures("here")
def test_runs_of_versions_without_from_run_are_read():
    saved = shared.to_json(pretrain.Settings())
    assert saved["pretraining"].pop("from_run", 0) is None
    Path("a").mkdir()
    Path("a/config.json").write_text(json.dumps(saved))
    assert from_run.read(Path("a")) == pretrain.Settings()
