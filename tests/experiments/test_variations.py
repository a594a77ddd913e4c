"""The table of hard data sets: trials, choices by validation, one look at the test images."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from dae_jax import datasets, reproduce, stacked
from dae_jax.errors import InputError
from dae_jax.experiments import grid as grids
from dae_jax.experiments import pages, variations, variations_table
from dae_jax.experiments.grid import ARMS, Grid, Task, Trial
from helpers import ROOT, refused

GRID = Grid(
    levels=(0.0, 0.25),
    widths=(12,),
    depths=(1, 3),
    pretrain_epochs=(1,),
    rates=(0.3,),
    adam_rates=(0.001,),
    dropouts=((0.0, 0.0), (0.2, 0.5)),
    epochs=1,
    penalties=(1.0,),
    gammas=(0.01, 0.03),
)
SAMPLE = "variations-basic-sample"

pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """A data set of a few images, and the folder of its trials."""
    dataset = datasets.load(SAMPLE)
    train, valid, test = (
        part._replace(images=part.images[:n], labels=part.labels[:n])
        for part, n in zip(dataset.parts, (200, 60, 100), strict=True)
    )
    dataset = dataset._replace(train=train, valid=valid, test=test)
    return Task(dataset, GRID, tmp_path_factory.mktemp("trials"))


@pytest.fixture(scope="module")
def trials(task: Task) -> list[Trial]:
    with jax.numpy_dtype_promotion("standard"):
        found = grids.try_all(task)
    assert found is not None
    return found


def test_every_point_of_the_grid_is_tried_once(trials):
    counts = {arm: sum(map(of, trials)) for arm, of in ARMS.items()}
    assert counts == {"svm": 2, "SAA-3": 1, "SdA-3": 1, "random": 1, "rectifiers": 2}
    assert len({json.dumps([trial.arm, trial.choices]) for trial in trials}) == len(trials) == 10
    assert {trial.choices.get("depth") for trial in trials if trial.arm == "stack"} == {1, 3}
    assert all(0 <= trial.valid_error <= 1 for trial in trials)


def test_a_trial_is_judged_by_the_network_that_is_tested(task, trials):
    valid = task.dataset.valid
    on_valid = replace(task, dataset=task.dataset._replace(test=valid))
    for trial in trials:
        predicted = grids.predictions(on_valid, trial)
        assert np.mean(predicted != valid.labels) == pytest.approx(trial.valid_error)


def test_finished_trials_are_read_and_not_made_again(task, trials, monkeypatch):
    for name in ("_svm", "_save"):
        monkeypatch.setattr(grids, name, None)
    assert grids.try_all(task) == trials


def test_levels_begin_with_the_same_weights_and_mask_exactly_their_share(task, monkeypatch):
    seen = {}

    def watched(how, scale):
        seen.setdefault(how.corruption, how.noise)
        return original(how, scale)

    original = grids.stage.denoising_cost
    monkeypatch.setattr(grids.stage, "denoising_cost", watched)
    monkeypatch.setattr(grids.training, "sweep", _first_weights(grids.training.sweep, firsts := []))
    own = replace(task, folder=task.folder / "again")
    grids._pretrained(own, 12, 1, (0.0, 0.25))
    assert seen == {0.0: "masking-count", 0.25: "masking-count"}
    expected = stacked.init_tutorial(GRID.seed, 784, [12] * 3)
    for params, (zero, quarter) in zip(expected, firsts, strict=True):
        assert zero is quarter
        np.testing.assert_array_equal(zero.W, params.W)


def _first_weights(sweep, firsts):
    def watched(costs, params, optimizer):
        firsts.append(params)
        return sweep(costs, params, optimizer)

    return watched


def test_the_best_trial_is_chosen_by_validation_and_borders_are_reported():
    def trial(rate: float, error: float) -> Trial:
        return Trial("stack", {"depth": 3, "rate": rate, "level": 0.1}, error, 1, "", 0)

    some = [trial(0.1, 0.3), trial(0.3, 0.2), trial(1.0, 0.2)]
    assert grids.best(some) is some[1]
    assert variations._at_border(some[1], some) == []
    assert variations._at_border(some[2], some) == ["rate"]


def test_the_error_saved_has_mcnemars_test_and_its_interval():
    labels = np.zeros(1000, int)
    wrong = {"one": np.arange(1000) < 30, "other": np.arange(1000) >= 940}
    predicted = {name: errors.astype(int) for name, errors in wrong.items()}
    found = variations._difference(labels, predicted, "one", "other")
    assert found["saves"] == pytest.approx(0.03)
    assert (found["mcnemar"]["b"], found["mcnemar"]["c"]) == (60, 30)
    # the differences of the images are 60 times 1, 30 times -1, and 0
    each = np.repeat([1, -1, 0], [60, 30, 910])
    half = 1.96 * each.std() / np.sqrt(1000)
    assert found["interval"] == pytest.approx([0.03 - half, 0.03 + half])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, task: Task) -> None:
    """Each set is the few images of the task, under its own name."""

    def load(name: str) -> datasets.Dataset:
        return task.dataset._replace(name=name)

    monkeypatch.setattr(variations.datasets, "load", load)


def test_the_report_of_a_set_is_added_to_those_of_others(small, tmp_path: Path, capsys):
    folder = tmp_path / "variations"
    for name in ("rot", "basic"):
        assert variations.run(name, GRID, folder, "the command", sample=True)
    sets = variations.read(folder)
    assert list(sets) == ["basic", "rot"]
    report = sets["basic"]
    assert report["data"] == SAMPLE and report["sizes"] == [200, 60, 100]
    assert [row["arm"] for row in report["rows"]] == list(ARMS)
    assert len(report["trials"]) == 10
    assert {path.name for path in folder.glob("*.png")} == {
        *("errors.png", "examples_basic.png", "examples_rot.png"),
        *("levels_basic.png", "levels_rot.png"),
    }
    assert not list(folder.glob("training/*"))
    out = capsys.readouterr().out
    assert "basic, SdA-3: test error" in out

    table = variations_table.errors(sets)
    first, second = table.splitlines()[2:4]
    assert first.startswith("| **basic** |") and second.startswith("| published | 3.03±0.15 [b]")
    assert first.count("|") == second.count("|") == table.splitlines()[1].count("|")
    lines = variations_table.lines(folder)
    assert lines[0][0] == "variations" and {len(line) for line in lines} == {7}
    measured = [line for line in lines[1:] if line[4] != "not measured"]
    assert [line[1].split(",")[0] for line in measured] == ["basic"] * 5 + ["rot"] * 5
    assert len(lines) == 1 + 5 * 5 and f"| {measured[0][4]} |" in first
    saved = variations_table.differences(sets).splitlines()
    assert [line.split()[1] for line in saved[2:]] == ["basic", "rot"]
    assert len({line.count("|") for line in saved}) == 1
    (_, fault) = variations_table.faults(folder)
    assert "of another grid than declared today" in fault and "--sets rot" in fault


def test_the_trials_of_another_declaration_are_removed(small, tmp_path: Path, monkeypatch):
    folder, calls = tmp_path / "variations", []
    monkeypatch.setattr(variations, "try_all", lambda task: calls.append(task) or None)
    training = folder / "training" / "rect"
    for grid, resume in ((GRID, True), (GRID, True), (replace(GRID, seed=2), True), (GRID, True)):
        assert not variations.run("rect", grid, folder, "", sample=True, resume=resume)
        (training / f"trial_{len(calls)}").touch()
    assert {path.name for path in training.iterdir()} == {"declaration.json", "trial_4"}
    assert not variations.run("rect", GRID, folder, "", sample=True, resume=False)
    assert {path.name for path in training.iterdir()} == {"declaration.json"}


def test_the_table_stands_between_its_marks(tmp_path: Path):
    begin, end = variations_table.ERRORS
    path = tmp_path / "page.md"
    path.write_text("no marks\n")
    with pytest.raises(InputError, match="expected the lines"):
        pages.put_tables(path, variations_table.tables(tmp_path))
    assert path.read_text() == "no marks\n"
    path.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    pages.put_tables(path, variations_table.tables(tmp_path))
    assert path.read_text() == f"before\n{begin}\n\nNot measured yet.\n\n{end}\nafter\n"


@pytest.mark.parametrize("page", ["tutorials/11_does_noise_help.md", "docs/results.md"])
def test_the_numbers_of_the_pages_are_those_of_the_report(page):
    sets, text = variations.read(ROOT / "results" / "variations"), (ROOT / page).read_text()
    for report in sets.values():
        for row in report["rows"]:
            if row["arm"] in ("SAA-3", "SdA-3", "random", "rectifiers"):
                assert re.search(rf"\b{100 * row['test_error']:.2f}\b", text), row
        points = {d["against"]: _points(d) for d in report["differences"] if d["arm"] == "SdA-3"}
        assert points["SAA-3"] in text.replace("0.", ".")
        assert "docs" in page or points["rectifiers"] in text.replace("0.", ".")


def _points(difference: dict[str, Any]) -> str:
    """A difference as a page gives it, in points."""
    low, high = difference["interval"]
    return f"{100 * difference['saves']:.2f} ± {50 * (high - low):.2f}".replace("0.", ".")


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_the_tables_of_the_pages_are_those_of_the_committed_report(page):
    folder, text = ROOT / "results" / "variations", (ROOT / page).read_text()
    for (begin, end), table in variations_table.tables(folder).items():
        if (begin, end) == variations_table.ERRORS or page == "docs/results.md":
            assert text.split(begin)[1].split(end)[0].strip() == table()
    assert variations_table.faults(folder) == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--sets rto", ["--sets", "did you mean rot?"]),
        ("--levels 0.1 0.25", ["--levels", "0, for the stack without noise", "got 0.1 0.25"]),
        ("--levels 0", ["--levels", "at least one other level"]),
        ("--levels 0 1.5", ["--levels", "levels in [0, 1]"]),
        ("--widths 0", ["--widths", "above 0"]),
        ("--seeds 3", ["--seeds", "none with variations"]),
        ("--data digits", ["--data", "leave it out"]),
    ],
)
def test_what_cannot_be_tried_is_refused_before_anything_is_made(flags, words, tmp_path):
    command = ["variations", *flags.split(), "--output-dir", str(tmp_path / "out")]
    refused(lambda: reproduce.main(command), *words)
    assert not (tmp_path / "out").exists()


def test_without_mnist_the_published_sizes_cannot_be_made(tmp_path, monkeypatch):
    monkeypatch.delenv("DAE_JAX_DATA", raising=False)
    monkeypatch.setattr("dae_jax.datasets.mnist.MIRRORS", ())
    words = "expected the 70,000 digits of MNIST", "--data mnist-sample"
    refused(lambda: variations.run("basic", GRID, tmp_path, ""), *words)


def test_a_damaged_report_or_trial_is_one_clear_line(tmp_path):
    (tmp_path / "report.json").write_text("{")
    refused(lambda: variations.read(tmp_path), "report.json", "remove it")
    (tmp_path / "report.json").write_text('{"version": 9, "grid": "variations", "sets": {}}')
    refused(lambda: variations.read(tmp_path), "version 1", "got 9")
    (tmp_path / "trials.json").write_text('[{"arm": 1}]')
    refused(lambda: grids._read(tmp_path / "trials.json"), "trials.json", "remove it")
    (tmp_path / "params.safetensors").write_bytes(b"no")
    refused(lambda: grids._load(tmp_path / "params.safetensors", [1.0]), "cannot read", "remove it")
    grids._save(tmp_path / "other.safetensors", [np.ones(3)])
    refused(lambda: grids._load(tmp_path / "other.safetensors", [np.ones(2)]), "shapes")
