"""A short campaign with fixed seeds, and that its judges see what they are for."""

import itertools
import json
import shutil
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.fuzz import campaign, cases, commands, faults, kills, mutations, readers
from tests.fuzz.cases import Result

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, /proc and capabilities")

EDITS = st.lists(
    st.builds(
        mutations.Edit,
        st.sampled_from(mutations.OPERATIONS),
        st.floats(0, 1, exclude_max=True),
        st.integers(1, 1024),
        st.integers(0, 2**31 - 1),
    ),
    min_size=1,
    max_size=3,
)


# Orbax's threads complain when they are collected; the commands keep this away from the user.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(derandomize=True, database=None, deadline=None, max_examples=200)
@given(which=st.integers(0, 999), edits=EDITS)
def test_an_edited_file_is_read_or_refused_in_one_line(tmp_path_factory, which, edits):
    everything = readers.documents()
    kind = sorted(everything)[which % len(everything)]
    document = everything[kind]
    content = mutations.apply(document.content, edits)
    result = readers.judged(kind, document, content, tmp_path_factory.mktemp("edited"))
    assert not result.faults, kind


def held(part, numbers):
    """Run cases of a part in processes of their own, and check that all held."""
    done = campaign.run_cases([(part, 0, number) for number in numbers])
    assert len(done) == len(numbers)
    assert {one.case: one.result for one in done if one.result.faults} == {}


@pytest.mark.slow
def test_command_lines_hold():
    held("commands", range(10))


@pytest.mark.slow
def test_killed_runs_resume_to_the_same_files():
    held("kills", [0, 4])  # both of the sweep


@pytest.mark.slow
def test_runs_with_faults_resume_to_the_same_files():
    def of_the_sweep(case):
        return cases.one_of(cases.generator(0, "faults", case), list(kills.RUNS)) == SWEEP

    n = len(faults.FAULTS)
    held("faults", [next(filter(of_the_sweep, itertools.count(i, n))) for i in range(n)])


SWEEP = "train, a sweep"


# ---- the judges ------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path):
    """Two folders with the same run in them."""
    run = tmp_path / "one" / "r"
    (run / "checkpoints" / "2").mkdir(parents=True)
    (run / "params.safetensors").write_bytes(b"weights")
    (run / "metrics.jsonl").write_text('{"epoch": 1, "cost": 0.5, "seconds": 3}\n')
    (run / "results.json").write_text('{"cost": 0.5, "seconds": 3, "list": [1, {"a": 2}]}')
    (run / "command.txt").write_text("python -m it\n")
    (run / ".lock").touch()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(run / "filters.png")
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    return tmp_path / "one", tmp_path / "other"


def test_what_may_differ_between_a_resumed_run_and_another_is_no_difference(runs):
    mine, other = runs
    (mine / "r/metrics.jsonl").write_text('{"epoch": 1, "cost": 0.5, "seconds": 9}\n')
    (mine / "r/command.txt").write_text("python -m it --resume\n")
    (mine / "r/checkpoints/3").mkdir()
    (mine / "r/.owner").write_text("process 3")
    assert kills.differences(mine, other) == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("params.safetensors", b"weighty", "another params.safetensors"),
        ("metrics.jsonl", b'{"epoch": 1, "cost": 0.6, "seconds": 3}\n', "cost is 0.6, not 0.5"),
        ("results.json", json.dumps({"cost": 0.5, "list": [1, {"a": 3}]}).encode(), "a is 3"),
        ("results.json", b"{", "unreadable results.json"),
        ("command.txt", b"python -m other", "another command.txt"),
        (".metrics.jsonl.0123abcd.tmp", b"", "left over"),
    ],
)
def test_any_other_difference_is_named(runs, name, content, words):
    (runs[0] / "r" / name).write_bytes(content)
    assert words in " ".join(kills.differences(*runs))


def test_a_lost_file_and_another_pixel_are_differences(runs):
    (runs[0] / "r/params.safetensors").unlink()
    Image.fromarray(np.eye(4, dtype=np.uint8)).save(runs[0] / "r/filters.png")
    assert kills.differences(*runs) == [
        "without params.safetensors",
        "4 other pixels in filters.png",
    ]


@pytest.mark.parametrize("err", ["Traceback (most recent call last):\n  x\nValueError: y\n"])
def test_what_should_not_be_on_stderr_is_seen(err):
    assert cases.stray(err) == ["a traceback: ValueError: y"]
    assert cases.stray("x.py:3: UserWarning: odd") and cases.stray("a\x1b[31m")
    assert cases.wording("two\nlines") and cases.wording("x" * 2_000) and cases.wording("\x07")
    assert not cases.stray("error: it\n") and not cases.wording("error: it")


def test_a_case_is_the_same_each_time_and_a_command_repeats_it():
    for part in cases.PARTS:
        first, again = (cases.generator(3, part, 7).random(4) for _ in range(2))
        np.testing.assert_array_equal(first, again)
    line = commands.LINES["train"]
    first, again = (commands.drawn(cases.generator(3, "commands", 7), line) for _ in range(2))
    assert first == again
    assert cases.repeat(3, "kills", 7) == "python -m tests.fuzz --only kills --seed 3 --case 7"


def test_every_flag_of_a_command_may_be_drawn():
    known = commands.flags(commands.LINES["train"].settings())
    drawn = [
        word
        for case in range(2_000)
        for word in commands.drawn(cases.generator(0, "commands", case), commands.LINES["train"])
    ]
    flags = {"--" + name.replace("_", "-") for name in known if name != "debug"}
    assert flags <= {word.split("=")[0] for word in drawn}


def test_the_table_counts_and_says_how_to_repeat():
    done = [
        campaign.Done("readers", 5, 0, Result("idx")),
        campaign.Done("readers", 5, 1, Result("idx", ("KeyError in a.py:read: 1",))),
        campaign.Done("readers", 5, 2, Result("idx", ("KeyError in a.py:read: 2",))),
    ]
    table = campaign.in_markdown(done, 1.0, 2)
    assert "| readers | 3 | 2 |" in table and "| readers | idx | 3 | 2 |" in table
    assert "| idx: KeyError in a.py:read: 1 | 2 |" in table
    assert "`python -m tests.fuzz --only readers --seed 5 --case 1`" in table
