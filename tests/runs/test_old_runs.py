"""Run directories written by version 0.1.0, before the package had folders and models had cards.

`version_0_1_0.zip` holds them as that version left them, and under ``expected/`` what it made of
them afterwards; `README.md` beside it has the commands.
"""

import csv
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from dae_jax import console, predict, pretrain, train, transform
from dae_jax.runs import saved

ARCHIVE = Path(__file__).with_name("version_0_1_0.zip")
RUNS = ("da", "sweep", "stack", "seeds")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    with zipfile.ZipFile(ARCHIVE) as file:
        file.extractall(folder)
    return folder / "version_0_1_0"


@pytest.fixture
def expected(archive, tmp_path, monkeypatch):
    """The old runs, copied into an empty working directory; what version 0.1.0 made of them."""
    for run in RUNS:
        shutil.copytree(archive / run, tmp_path / run)
    shutil.copy(archive / "small.npz", tmp_path)
    monkeypatch.chdir(tmp_path)
    return archive / "expected"


def resume(run, *flags):
    """Resume a run by the command that it belongs to; returns the exit status."""
    main = train.main if run in ("da", "sweep") else pretrain.main
    return console.run(main, ["--resume", "--run-dir", run, *flags])


def assert_as_expected(run, expected):
    """Compare models and costs; on another processor they may differ by rounding."""
    models = sorted((expected / run).rglob("*.safetensors"))
    assert models
    for path in models:
        mine, theirs = load_file(path.relative_to(expected)), load_file(path)
        assert set(mine) == set(theirs)
        for name, tensor in theirs.items():
            np.testing.assert_allclose(mine[name], tensor, rtol=1e-5, atol=1e-6)
    for path in (expected / run).rglob("metrics.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        mine = Path(path.relative_to(expected)).read_text().splitlines()
        costs = [json.loads(line)["cost"] for line in mine]
        np.testing.assert_allclose(costs, [row["cost"] for row in rows], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_resuming_ends_in_the_numbers_of_the_old_version(expected, capfd, run):
    flag = "--epochs" if run in ("da", "sweep") else "--finetune-epochs"
    assert resume(run, flag, "4") == 0
    assert "resuming after epoch 2 of 4" in capfd.readouterr().out
    assert_as_expected(run, expected)


@pytest.mark.slow
def test_an_interrupted_stack_continues_with_its_finished_layers(expected, capfd):
    shutil.rmtree("stack/finetune")
    Path("stack/model.safetensors").unlink()
    assert resume("stack", "--finetune-epochs", "4") == 0
    out = capfd.readouterr().out
    assert "layer 1, epoch" not in out and "fine-tuning, epoch 1/4" in out
    assert_as_expected("stack", expected)


def test_resuming_with_other_settings_is_refused(expected, capfd):
    before = Path("da/config.json").read_bytes()
    assert resume("da", "--learning-rate", "0.2") == 2
    assert "--learning-rate is 0.1 there, 0.2 here" in capfd.readouterr().err
    assert Path("da/config.json").read_bytes() == before


def test_a_classifier_predicts_the_same(expected):
    assert console.run(predict.main, ["stack", "small.npz", "--part", "all"]) == 0
    mine, theirs = (
        list(csv.reader(path.read_text().splitlines()))
        for path in (Path("predictions.csv"), expected / "stack.csv")
    )
    assert mine[0] == theirs[0]
    assert [row[:2] for row in mine] == [row[:2] for row in theirs]
    probabilities = [np.array([row[2:] for row in rows[1:]], float) for rows in (mine, theirs)]
    np.testing.assert_allclose(*probabilities, atol=2e-6)


@pytest.mark.parametrize(
    ("run", "codes", "flags"),
    [
        ("stack", "stack_1.npy", ["--layer", "1"]),
        ("da", "da.npy", []),
        ("sweep/corruption_0", "sweep_0.npy", []),
    ],
)
def test_codes_are_the_same(expected, run, codes, flags):
    assert console.run(transform.main, [run, "small.npz", "--part", "all", *flags]) == 0
    np.testing.assert_allclose(np.load("codes.npy"), np.load(expected / codes), atol=1e-6)


def test_a_da_without_a_card_needs_its_run_directory(expected, capfd):
    card = saved.load("da/params.safetensors").card
    assert (card.kind, card.pixels, card.pixel_scale) == ("autoencoder", 36, 255)
    assert card.denoising is not None and card.denoising["corruption"] == 0.3
    shutil.move("da/params.safetensors", "alone.safetensors")
    assert console.run(transform.main, ["alone.safetensors", "small.npz"]) == 2
    assert "config.json of its run beside it" in capfd.readouterr().err
