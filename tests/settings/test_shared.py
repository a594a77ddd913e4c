"""Parsing, JSON and comparison of settings, and the checks that commands have in common."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import pytest

from dae_jax.settings import pretrain, shared, train
from helpers import refused


@dataclass(frozen=True)
class Group:
    """A group."""

    size: int = 3
    """A size."""
    levels: tuple[float, ...] = (0.1, 0.2)
    """Some levels."""


@dataclass(frozen=True)
class Toy:
    """A toy."""

    prog: ClassVar[str] = "python -m toy"

    epochs: int | None = None
    """A length."""
    group: Group = field(default_factory=Group)


# ---- parsing ---------------------------------------------------------------------------------


def test_flags_have_no_prefix_and_the_rest_keeps_its_default():
    assert shared.parse(Toy, ["--size", "4"]) == Toy(group=Group(size=4))
    other = Toy(epochs=9, group=Group(levels=()))
    got = shared.parse(Toy, ["--levels", "0.5", "1"], default=other)
    assert got == Toy(epochs=9, group=Group(levels=(0.5, 1)))


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--sise", "4"], ("--sise", "see python -m toy --help")),
        (["--size", "four"], ("four", "see python -m toy --help")),
        (["--size"], ("--size",)),
        (["4"], ("4",)),
    ],
)
def test_flags_that_cannot_be_parsed_are_one_line(argv, words):
    refused(lambda: shared.parse(Toy, argv), *words)


def test_untied_is_the_opposite_of_tied():
    for flag, tied in (("--tied", True), ("--untied", False), ("--no-tied", False)):
        assert shared.parse(train.Settings, [flag]).model.tied is tied


def test_help_prints_and_exits(capsys):
    with pytest.raises(SystemExit) as stop:
        shared.parse(Toy, ["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "python -m toy" in out and "--levels" in out and "A size." in out


# ---- JSON ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        Toy(epochs=2, group=Group(levels=())),
        train.Settings().resolved("mnist", 50_000),
        replace(train.Settings(), data=shared.Data("x", 0.5, (3, 4))),
        pretrain.PRESETS["best"],
        pretrain.Settings().resolved("mnist", 50_000),
    ],
)
def test_settings_survive_json(settings):
    saved = json.loads(json.dumps(shared.to_json(settings)))
    assert shared.from_json(type(settings), saved) == settings


@pytest.mark.parametrize(
    "saved",
    [
        {},
        {"epochs": 3},
        {"epochs": 3, "group": {}},
        {"epochs": 3, "group": {"size": 3}},
        {"epochs": 3, "group": {"size": 3, "levels": [], "more": 1}},
        {"epochs": 3, "group": {"size": 3, "levels": []}, "more": 1},
    ],
)
def test_other_settings_are_refused(saved):
    refused(lambda: shared.from_json(Toy, saved), "config.json: expected the settings")


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ({"epochs": "3", "group": {"size": 3, "levels": []}}, "epochs in r: expected int"),
        ({"epochs": 3, "group": 4}, "group in r: expected object, got int"),
        ({"epochs": 3, "group": {"size": True, "levels": []}}, "group.size in r: expected"),
        ({"epochs": 3, "group": {"size": 3, "levels": [0.1, "a"]}}, "group.levels[1] in r"),
    ],
)
def test_values_of_other_types_are_named_with_file_and_field(saved, words):
    refused(lambda: shared.from_json(Toy, saved, "r", "do this"), words, "do this")


def test_a_setting_that_a_later_version_added_has_its_default_if_it_is_missing():
    @dataclass(frozen=True)
    class Later:
        size: int = 3
        more: int = field(default=4, metadata={"since": "0.2.0"})

    assert shared.from_json(Later, {"size": 2}) == Later(2, 4)
    assert shared.from_json(Later, {"size": 2, "more": 5}) == Later(2, 5)
    refused(lambda: shared.from_json(Later, {"more": 5}), "others (no size)")
    refused(lambda: shared.from_json(Later, {"size": 2, "": 5}), "others (one without a name)")


def test_whole_numbers_stay_whole_so_that_models_have_the_same_bytes():
    toy = shared.from_json(Toy, {"epochs": 3, "group": {"size": 3, "levels": [1, 0.5]}})
    assert json.dumps(shared.to_json(toy)["group"]["levels"]) == "[1, 0.5]"


def test_settings_that_earlier_versions_do_not_record_have_their_defaults():
    for kind in (train.Settings, pretrain.Settings):
        saved = shared.to_json(kind())
        del saved["data"]["grey"]
        assert shared.from_json(kind, saved) == kind()
        saved["data"] |= {"grey": True}
        assert shared.from_json(kind, saved).data.grey


def test_the_settings_of_one_command_are_not_those_of_another():
    for one, other in ((train.Settings, pretrain.Settings), (pretrain.Settings, train.Settings)):
        refused(lambda o=one, k=other: shared.from_json(k, shared.to_json(o())), "config.json")


# ---- resuming --------------------------------------------------------------------------------


def test_a_longer_run_is_the_same_run_and_a_shorter_one_is_not():
    saved = Toy(epochs=5)
    assert shared.differences(saved, Toy(epochs=5), "epochs") == []
    assert shared.differences(saved, Toy(epochs=6), "epochs") == []
    assert shared.differences(saved, Toy(epochs=4), "epochs") == ["--epochs is 5 there, 4 here"]
    assert shared.differences(saved, Toy(epochs=6), "size") == ["--epochs is 5 there, 6 here"]
    other = Toy(epochs=5, group=Group(levels=(0.1, 1)))
    expected = ["--levels is 0.1 0.2 there, 0.1 1 here"]
    assert shared.differences(saved, other, "epochs") == expected


def test_the_place_of_the_output_may_differ():
    saved = train.Settings()
    moved = replace(saved, output=train.Output(output_dir="elsewhere", resume=True))
    assert shared.differences(saved, moved, "epochs") == []
    assert "output_dir" not in shared.flat(saved) and shared.flat(saved)["n_hidden"] == 500


@pytest.fixture
def resume(here):
    """Resume the run in r with further flags, in an empty working directory."""

    def resume(*flags):
        argv = ["--resume", "--run-dir", "r", *flags]
        return shared.resumed(shared.parse(train.Settings, argv), argv, "epochs")

    return resume


def write(settings):
    Path("r").mkdir(exist_ok=True)
    Path("r/config.json").write_text(json.dumps(shared.to_json(settings)))


def test_flags_that_are_not_given_are_those_of_the_saved_run(resume):
    write(replace(train.Settings(), training=train.Training(epochs=5, seed=9)))
    got = resume("--epochs", "7")
    assert got.training == train.Training(epochs=7, seed=9)
    assert got.output.resume and got.output.run_dir == "r"
    words = ("another configuration", "--seed is 9 there, 3 here", "leave these flags out")
    refused(lambda: resume("--seed", "3"), *words)


def test_a_run_that_has_not_begun_begins(resume, capsys):
    assert resume("--seed", "3").training.seed == 3
    assert "no run in r yet" in capsys.readouterr().out
    Path("r").mkdir()
    assert resume("--seed", "3").training.seed == 3


def test_a_folder_without_a_run_or_with_a_damaged_one_is_refused(resume):
    Path("r").mkdir()
    Path("r/cat.txt").write_text("meow")
    refused(resume, "r holds no run")
    for content in ("{", '{"data": {}}'):
        Path("r/config.json").write_text(content)
        refused(resume, "config.json", "take another")


# ---- checks ----------------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (lambda n: shared.check_count("n", n), [1, 10], [0, -1]),
        (lambda x: shared.check_above_0("x", x), [1e-9, 1e9], [0.0, -1.0, NAN, INF]),
        (lambda x: shared.check_levels([0.5, x]), [0.0, 1.0], [-0.1, 1.1, NAN]),
        (lambda seed: shared.check_seeds(seed, 2), [0, 2**32 - 2], [-1, 2**32 - 1]),
        (lambda f: shared.check_data(shared.Data(valid_fraction=f)), [0.0, 0.5], [1.0, -0.1, NAN]),
        (lambda s: shared.check_data(shared.Data(pixel_scale=s)), [1.0, 256.0], [0.0, NAN, INF]),
        (lambda h: shared.check_data(shared.Data(image_size=(h, 4))), [1, 28], [0, -3]),
        (
            lambda folder: shared.check_run_dir(train.Output(run_dir=folder, resume=True)),
            ["r"],
            [None],
        ),
    ],
    ids=["count", "above 0", "levels", "seeds", "fraction", "scale", "size", "resume"],
)
def test_checks_accept_what_is_in_range_and_refuse_the_rest(check, good, bad):
    for value in good:
        check(value)
    for value in bad:
        refused(lambda value=value: check(value), "expected", "got")


def test_values_are_written_as_one_would_type_them():
    assert shared.in_words((12, 8)) == "12 8" and shared.in_words(0.10) == "0.1"
    assert shared.in_words("mnist") == "mnist" and shared.in_words(True) == "True"
