"""The campaign: its processes and its table."""

from pathlib import Path

import pytest

from tests.fuzz import campaign
from tests.fuzz.campaign import Done
from tests.fuzz.cases import PARTS, Result

DONE = [
    Done("readers", 7, 0, Result("npz")),
    Done("readers", 7, 1, Result("npz", ("KeyError in x.py:read: 'a|b'",))),
    Done("readers", 7, 2, Result("npz", ("KeyError in x.py:read: 'a|b'", "12 s"))),
    Done("kills", 7, 0, Result("train: SIGKILL")),
]


def test_the_table_says_what_was_tried_what_failed_and_how_to_repeat_it() -> None:
    table = campaign.in_markdown(DONE, 30, 2)
    assert "| readers | 3 | 2 |" in table and "| kills | 1 | 0 |" in table
    assert "| readers | npz | 3 | 2 |" in table
    repeated = "`python -m tests.fuzz --only readers --seed 7 --case 1` |"
    assert f"| npz: KeyError in x.py:read: 'a\\|b' | 2 | {repeated}" in table


def test_the_shares_of_all_parts_are_the_whole_time() -> None:
    assert set(campaign.SHARES) == set(campaign.GOALS) == set(PARTS)
    assert sum(campaign.SHARES.values()) == pytest.approx(1)


@pytest.mark.slow
def test_a_case_that_hangs_is_a_fault_and_not_the_end(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(campaign.PATIENCE, "readers", 0.01)
    (done,) = campaign.run_cases([("readers", 0, 0)], shared)
    assert done.result.faults == ("hung for 0 s",)


@pytest.mark.slow
def test_the_files_of_a_campaign_go_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign.tempfile, "tempdir", str(tmp_path))
    done = campaign.conducted(["readers"], 3, 1.0, 1)
    assert done and not list(tmp_path.iterdir())
    assert [one.case for one in done] == list(range(len(done)))
