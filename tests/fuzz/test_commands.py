"""Command lines: drawn from the settings; what holds for all; and that the judge sees the rest."""

import stat
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from dae_jax.settings import ladder, pretrain, train
from tests.fuzz import campaign, commands
from tests.fuzz.cases import generator
from tests.fuzz.processes import Ended

FILE, FIFO = stat.S_IFREG, stat.S_IFIFO


@pytest.mark.parametrize("settings", [train.Settings, pretrain.Settings, ladder.Settings])
def test_every_field_of_the_settings_is_a_flag(settings: Any) -> None:
    def names(part: Any) -> set[str]:
        own = {field.name: getattr(part, field.name) for field in fields(part)}
        inner = [names(value) for value in own.values() if is_dataclass(value)]
        return {name for name, value in own.items() if not is_dataclass(value)}.union(*inner)

    assert set(commands.flags(settings)) == names(settings())


def test_positional_arguments_are_told_from_flags() -> None:
    flags = commands.flags(commands.LINES["predict"].settings())
    assert [name for name, flag in flags.items() if flag.positional] == ["run", "images"]


@pytest.mark.parametrize("kind", commands.LINES)
def test_every_flag_is_drawn_with_good_and_bad_values(kind: str) -> None:
    line = commands.LINES[kind]
    words: set[str] = set()
    for case in range(400):
        words.update(commands.drawn(generator(0, "commands", case), line))
    flags = commands.flags(line.settings()).values()
    typed = {word.split("=")[0] for word in words}
    for flag in flags:
        if not flag.positional and flag.name != "debug":
            assert typed & {*flag.words, f"--no-{flag.words[0][2:]}"}, flag.name
    assert words & set(commands.BAD_WORDS)


def end(status: int = 2, err: str = "error: no such file\n", **other: Any) -> Ended:
    return Ended(**{"status": status, "out": "", "err": err, "seconds": 1, "busy": 1} | other)


@pytest.mark.parametrize(
    ("ended", "after", "words"),
    [
        (end(), {}, None),
        (end(0, ""), {"out/x.csv": (FILE, 3, 1)}, None),
        (end(1, ""), {}, "status 1"),
        (end(-9, ""), {}, "status -9"),
        (end(2, "Traceback (most recent call last):\n  x\nKeyError: 'a'\n"), {}, "KeyError: 'a'"),
        (end(2, "error: a\nerror: b\n"), {}, "2 lines"),
        (end(2, "oh\n"), {}, "no line"),
        (end(2, "error: \x1b[31m\n"), {}, "an escape sequence"),
        (end(2, "a.py:1: UserWarning: odd\nerror: a\n"), {}, "a warning"),
        (end(0, "", out="\x1b[1m"), {}, "an escape sequence on stdout"),
        (end(busy=11.0), {}, "refused after 11 s"),
        (end(hung=True), {}, "did not end"),
        (end(), {"filters": (stat.S_IFDIR, 0, 0)}, "left or changed filters"),
        (end(), {"data.npz": (FILE, 5, 1)}, "left or changed data.npz"),
        (end(0, ""), {"fifo": (FILE, 0, 0)}, "the FIFO 'fifo' is a file"),
    ],
)
def test_the_judge_sees_what_does_not_hold(ended: Ended, after: Any, words: str | None) -> None:
    before = {"fifo": (FIFO, 0, 0), "data.npz": (FILE, 3, 1)}
    faults = commands._faults("train", [], ended, before, before | after)
    assert (words in "; ".join(faults)) if words else faults == []


@pytest.mark.slow
def test_a_short_campaign_of_command_lines_finds_nothing(shared: Path) -> None:
    done = campaign.run_cases([("commands", 1, case) for case in range(6)], shared)
    assert {one.case: one.result for one in done if one.result.faults} == {}
