"""The README is true: its Python runs, and its commands are commands."""

import json
import re
import shlex
from pathlib import Path

import pytest

from dae_jax import console as command
from dae_jax import predict, reproduce, transform
from dae_jax.settings import pretrain as pretrain_config
from dae_jax.settings import train as config

README = (Path(__file__).parent.parent / "README.md").read_text()
PATTERN = r"^ {4}(?:.*&& )?python -m dae_jax\.(\w+)(.*?)(?: +#.*)?$"
COMMANDS = re.findall(PATTERN, README, re.MULTILINE)


def test_the_python_in_the_readme_runs():
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "README.md", "exec"), names)
    assert names["gradient"].W.shape == (784, 500)
    assert float(names["value"]) > 0


def test_there_are_commands_of_every_kind_in_the_readme():
    assert len(COMMANDS) > 12
    assert {name for name, _ in COMMANDS} == {
        "train",
        "pretrain",
        "predict",
        "transform",
        "reproduce",
    }


@pytest.mark.parametrize(("name", "flags"), COMMANDS)
def test_the_commands_in_the_readme_are_understood(name, flags):
    kinds = {
        "train": (config.Config, config.validate),
        "pretrain": (pretrain_config.Config, pretrain_config.validate),
        "reproduce": (reproduce.Config, lambda settings: None),
        "predict": (predict.Config, None),
        "transform": (transform.Config, None),
    }
    kind, validate = kinds[name]
    if "--help" in flags:
        return
    # the settings of predict and transform have no defaults that could be filled in
    default = kind() if validate else None
    settings = command.parse(kind, shlex.split(flags), f"python -m dae_jax.{name}", default)
    if validate:
        validate(settings)


def test_the_pictures_in_the_readme_are_there():
    for path in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (Path(__file__).parent.parent / path).exists(), path


RESULTS = Path(__file__).parent.parent / "results"


@pytest.mark.parametrize("preset", pretrain_config.PRESETS)
def test_the_errors_of_the_presets_are_those_of_the_reports(preset):
    report = json.loads((RESULTS / f"sda-{preset}" / "report.json").read_text())
    (row,) = re.findall(rf"^\| `--preset {preset}`.*$", README, re.MULTILINE)
    for name in ("valid_error", "test_error"):
        numbers = report[name]
        assert f"{numbers['mean']:.2%} ± {numbers['sd']:.2%}".replace("%", " %") in row
    assert len(report["members"]) == 3 and report["data"]["name"] == "mnist"
    assert f"`{report['command']}`" in README


def test_the_numbers_of_the_comparison_are_those_of_its_report():
    report = json.loads((RESULTS / "sda-labels" / "compare.json").read_text())
    _, below = README.split(f"`{report['command']}`")
    gains = {(d["labels"], d["arm"]): d for d in report["differences"]}
    for labels in report["config"]["comparison"]["labels"]:
        row = re.findall(rf"^\| {labels} \|.*$", below, re.MULTILINE)[0]  # of the table below it
        cells = {r["arm"]: r for r in report["rows"] if r["labels"] == labels}
        for arm in ("pretrained", "random", "frozen"):
            low, high = cells[arm]["test_interval"]
            told = f"{100 * cells[arm]['test_mean']:.2f} ({100 * low:.2f} to {100 * high:.2f})"
            assert told in row
        gain = gains[labels, "random"]
        half = gain["mean"] - gain["interval"][0]
        assert f"{100 * gain['mean']:.2f} ± {100 * half:.2f}" in row
