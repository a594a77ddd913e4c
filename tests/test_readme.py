"""The README is true: its Python runs, its commands parse, its numbers are those of reports."""

import re
import shlex
from pathlib import Path

import pytest

from dae_jax import export, predict, reproduce, transform
from dae_jax.experiments.claims import Reproduced, prediction_interval
from dae_jax.settings import ladder, pretrain, shared, train
from helpers import ROOT, read_json

README = (ROOT / "README.md").read_text()
RESULTS = ROOT / "results"
PATTERN = r"^ {4}(?:.*&& )?python -m dae_jax\.(\w+)(.*?)(?: +#.*)?$"
COMMANDS = re.findall(PATTERN, README, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
def test_the_python_in_the_readme_runs():
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "README.md", "exec"), names)
    assert len(names["costs"]) == 15 and names["costs"][-1] < names["costs"][0]
    assert names["gradient"].W.shape == (784, 500)
    assert float(names["value"]) > 0
    assert names["filled"].shape == (1000, 784) and not names["np"].isnan(names["filled"]).any()


def test_the_readme_has_commands_of_every_kind():
    assert len(COMMANDS) > 12
    assert {name for name, _ in COMMANDS} == {
        "train",
        "pretrain",
        "predict",
        "transform",
        "export",
        "reproduce",
    }


@pytest.mark.parametrize(("name", "flags"), COMMANDS)
def test_the_commands_in_the_readme_parse(name, flags):
    kinds = {
        "train": train.Settings,
        "pretrain": pretrain.Settings,
        "reproduce": reproduce.Settings,
        "predict": predict.Settings,
        "transform": transform.Settings,
        "export": export.Settings,
    }
    if "--help" in flags:
        return
    kind = ladder.Settings if "few-labels" in flags else kinds[name]
    settings = shared.parse(kind, shlex.split(flags))
    if isinstance(settings, train.Settings | pretrain.Settings | ladder.Settings):
        settings.check()


def test_the_pictures_in_the_readme_are_there():
    for path in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("preset", pretrain.PRESETS)
def test_the_errors_of_the_presets_are_those_of_the_reports(preset):
    report = read_json(RESULTS / f"sda-{preset}" / "report.json")
    (row,) = re.findall(rf"^\| `--preset {preset}`.*$", README, re.MULTILINE)
    for name in ("valid_error", "test_error"):
        numbers = report[name]
        assert f"{numbers['mean']:.2%} ± {numbers['sd']:.2%}".replace("%", " %") in row
    assert len(report["members"]) == 3 and report["data"]["name"] == "mnist"
    assert f"`{report['command']}`" in README
    assert (
        f"`python -m dae_jax.pretrain --preset {preset} --seeds 3 --run-dir runs/{preset}`"
        in README
    )
    made = {Path(figure).name for member in report["members"] for figure in member["figures"]}
    committed = {path.name for path in (RESULTS / f"sda-{preset}").glob("*.png")}
    assert committed and committed <= made


def test_the_tutorials_errors_and_their_intervals_are_those_of_the_report():
    report = read_json(RESULTS / "sda-tutorial" / "report.json")
    about = " ".join(
        README.split("`tutorial` is the tutorial's recipe")[1].split("The others")[0].split()
    )
    for name, published in (("test_error", "1.3 %"), ("valid_error", "1.39 %")):
        values = [member[name] for member in report["members"]]
        low, high = prediction_interval(values)
        assert f"{100 * low:.2f} to {100 * high:.2f} %" in about and published in about
        assert Reproduced(name, published).verdict(values) == "agrees"
    (row,) = re.findall(r"^\| `--preset tutorial`.*$", README, re.MULTILINE)
    (epochs,) = {member["epochs"]["finetune"] for member in report["members"]}
    assert f"until the patience is used up: {epochs} |" in row


def test_the_numbers_of_the_comparison_are_those_of_its_report():
    report = read_json(RESULTS / "sda-labels" / "compare.json")
    _, below = README.split(f"`{report['command']}`")
    gains = {(d["labels"], d["arm"]): d for d in report["differences"]}
    for labels in report["config"]["comparison"]["labels"]:
        row = re.findall(rf"^\| {labels} \|.*$", below, re.MULTILINE)[0]  # of the table below it
        cells = {r["arm"]: r for r in report["rows"] if r["labels"] == labels}
        for arm in ("pretrained", "random", "frozen"):
            low, high = cells[arm]["test_interval"]
            words = f"{100 * cells[arm]['test_mean']:.2f} ({100 * low:.2f} to {100 * high:.2f})"
            assert words in row
        gain = gains[labels, "random"]
        half = gain["mean"] - gain["interval"][0]
        assert f"{100 * gain['mean']:.2f} ± {100 * half:.2f}" in row


@pytest.mark.parametrize("name", ["letters", "shapes"])
def test_the_errors_with_few_labels_are_those_of_the_reports(name):
    report = read_json(RESULTS / f"few-labels-{name}" / "report.json")
    link = f"results/few-labels-{name}/report.json"
    (row,) = [line for line in README.splitlines() if line.startswith("|") and link in line]
    (member,), baselines = report["members"], report["baselines"]
    errors = [member["test_error"], *(b["test_error"] for b in baselines[1:])]  # not the majority
    for cell, error in zip(row.split("|")[2:], errors, strict=False):
        assert cell.strip(" *") == f"{100 * error:.1f}"
    assert member["test_images"] == 5_000 and report["data"]["labelled_images"] == 100
    assert member["test_error"] < 2 / 3 * min(errors[1:])
    files = f"--data {name}/labelled.npz --unlabelled {name}/unlabelled.npz"
    assert report["command"] == f"python -m dae_jax.pretrain {files} --run-dir runs/{name}"
