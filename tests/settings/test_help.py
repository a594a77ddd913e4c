"""Help texts: the first flags first, all others under "advanced", words instead of types."""

import re
import sys
from dataclasses import fields, is_dataclass

import pytest

from dae_jax import predict, reproduce, transform
from dae_jax.settings import help, ladder, pretrain, shared, train

KINDS = [
    train.Settings,
    pretrain.Settings,
    ladder.Settings,
    predict.Settings,
    transform.Settings,
    reproduce.Settings,
]
IDS = ["train", "pretrain", "ladder", "predict", "transform", "reproduce"]


@pytest.fixture
def shown(monkeypatch, capsys):
    """The help text of a command, in a terminal of 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")

    def shown(kind, *argv):
        with pytest.raises(SystemExit) as stop:
            shared.parse(kind, argv)
        assert stop.value.code == 0
        return capsys.readouterr().out

    return shown


def names_of(settings):
    """The names of all settings, those in groups too."""
    names = []
    for part in fields(settings):
        value = getattr(settings, part.name)
        names += names_of(value) if is_dataclass(value) else [part.name]
    return names


def flags_in(text):
    """The flags and the positional arguments of a help text, one per line that begins with one."""
    pattern = r"^[│ ] \[?(?:-h, )?(--[\w-]+|[A-Z]+)(?=[ ,\]])"  # some outputs have no boxes
    return re.findall(pattern, text, re.MULTILINE)


def flags_of(kind):
    """What `flags_in` should find."""
    default = {"tied": "--tied", "run": "RUN", "images": "IMAGES", "names": "NAME"}
    return {name: default.get(name, f"--{name.replace('_', '-')}") for name in names_of(kind())}


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_every_flag_is_shown_once_and_the_first_ones_come_first(shown, kind):
    flags = flags_of(kind)
    first, advanced = shown(kind, "--help").split(" advanced", 1)
    expected = [flags.pop(name) for name in kind.first_flags]
    assert sorted(flags_in(first)) == sorted([*expected, "--help"])
    assert sorted(flags_in(advanced)) == sorted(flags.values())
    assert 4 <= len(expected) <= 10


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_h_shows_the_first_flags_and_says_how_to_see_the_others(shown, kind):
    flags = flags_of(kind)
    text = shown(kind, "-h")
    first = [flags.pop(name) for name in kind.first_flags]
    assert sorted(flags_in(text)) == sorted([*first, "--help"])
    assert f"{len(flags)} more flags: {kind.prog} --help" in text


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_values_have_names_that_a_person_can_read(shown, kind):
    text = shown(kind, "--help")
    for word in ("[[", "{None}", "STR", "[{", "(default: )", "(default: None)", "(default: False)"):
        assert word not in text


def test_help_has_texts_defaults_and_the_titles_of_the_groups(shown):
    text = " ".join(shown(train.Settings, "--help").replace("│", " ").split())
    assert "Number of hidden units. (default: 500)" in text
    assert "advanced: corruption options" in text
    # a text of several lines is one paragraph
    assert "images, a .csv file with the columns file and label" in text


def test_the_defaults_are_those_of_the_settings_that_are_given(capsys):
    with pytest.raises(SystemExit):
        shared.parse(pretrain.Settings, ["--help"], default=pretrain.PRESETS["best"])
    out = capsys.readouterr().out
    assert "(default: best)" in out and "(default: 0.1 0.2)" in out


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("/usr/bin/dae-jax", "dae-jax train"),
        ("dae-jax.exe", "dae-jax train"),
        ("/usr/bin/dae-jax-train", "dae-jax-train"),
        ("/usr/bin/dae-jax-pretrain", "python -m dae_jax.train"),
        ("/lib/dae_jax/__main__.py", "python -m dae_jax train"),
        ("/lib/dae_jax/train.py", "python -m dae_jax.train"),
        ("/lib/pytest/__main__.py", "python -m dae_jax.train"),
    ],
)
def test_commands_are_called_as_they_were_typed(monkeypatch, script, name):
    monkeypatch.setattr(sys, "argv", [script])
    assert help.as_typed("python -m dae_jax.train") == name
    assert help.as_typed("python benchmarks/sda.py") == "python benchmarks/sda.py"
    if name.endswith(" train"):
        assert help.as_typed("python -m dae_jax") == name.removesuffix(" train")
