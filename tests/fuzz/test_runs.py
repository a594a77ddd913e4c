"""Kills and faults: a few of each, and that the comparison of runs sees what differs."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.fuzz import campaign, faults, kills
from tests.fuzz.processes import Ended


def files_of_a_run(folder: Path) -> Path:
    run = folder / "r"
    run.mkdir(parents=True)
    (run / "model.safetensors").write_bytes(b"weights")
    (run / "metrics.jsonl").write_text('{"epoch": 1, "cost": 2.0, "seconds": 0.1}\n')
    (run / "report.json").write_text(json.dumps({"error": 0.1, "seconds": 3, "command": "a"}))
    Image.new("L", (3, 3)).save(run / "filters.png")
    return run


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("metrics.jsonl", '{"epoch": 1, "cost": 2.0, "seconds": 9}\n', None),
        ("report.json", '{"error": 0.1, "seconds": 5, "command": "a --resume"}', None),
        ("checkpoints", "another epoch", None),
        ("model.safetensors", "waights", "another model.safetensors"),
        ("metrics.jsonl", '{"epoch": 1, "cost": 2.1, "seconds": 9}\n', "is 2.1, not 2.0"),
        ("report.json", '{"error": 0.2, "seconds": 3, "command": "a"}', "error is 0.2, not 0.1"),
        (".model.x7", "", "left over"),
        ("report.json", "", "unreadable report.json"),
    ],
)
def test_the_comparison_leaves_out_seconds_and_nothing_else(
    name: str, content: str, words: str | None, tmp_path: Path
) -> None:
    mine = files_of_a_run(tmp_path / "mine")
    files_of_a_run(tmp_path / "whole")
    (mine / name).write_text(content)
    found = kills.differences(tmp_path / "mine", tmp_path / "whole")
    assert (words in "; ".join(found)) if words else found == []


def test_the_comparison_counts_pixels_and_missing_files(tmp_path: Path) -> None:
    mine = files_of_a_run(tmp_path / "mine")
    files_of_a_run(tmp_path / "whole")
    with Image.open(mine / "filters.png") as image:
        image.putpixel((1, 1), 1)
        image.save(mine / "filters.png")
    (mine / "model.safetensors").unlink()
    found = kills.differences(tmp_path / "mine", tmp_path / "whole")
    assert found == ["without model.safetensors", "1 other pixels in filters.png"]


@pytest.mark.parametrize(
    ("which", "ended", "held"),
    [
        (signal.SIGKILL, Ended(-9, "", "", 3, 3), True),
        (signal.SIGINT, Ended(130, "", "interrupted\n", 3, 3), True),
        (signal.SIGINT, Ended(-2, "", "Traceback\nKeyboardInterrupt\n", 0.1, 0.1), False),
        (signal.SIGINT, Ended(-2, "", "", 0.1, 0.1), True),
        (signal.SIGTERM, Ended(143, "", "terminated\n", 3, 3), True),
        (signal.SIGTERM, Ended(1, "", "", 3, 3), False),
        (signal.SIGTERM, Ended(-9, "", "", 180, 3, hung=True), False),
    ],
)
def test_a_signal_ends_a_run_with_its_status(which: Any, ended: Ended, held: bool) -> None:
    assert (kills._of_signal(which, ended) == []) == held


@pytest.mark.slow
def test_a_killed_and_resumed_run_ends_in_the_same_files(shared: Path) -> None:
    (done,) = campaign.run_cases([("kills", 5, 5)], shared)
    assert done.result.faults == (), done.result.about


@pytest.mark.slow
def test_a_fault_ends_in_one_line_and_the_same_files(shared: Path) -> None:
    (done,) = campaign.run_cases([("faults", 5, 4)], shared)  # one that needs no finished runs
    assert done.result.faults == (), done.result.about


def test_every_kind_of_fault_comes_in_turn() -> None:
    assert campaign.GOALS["faults"] >= 2 * len(faults.KINDS)
