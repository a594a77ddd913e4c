"""Checkpoints and metrics: complete or skipped, and nothing after the point of resuming."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from dae_jax.runs import checkpoints
from dae_jax.runs.checkpoints import Checkpoints, Metrics
from helpers import read_json, refused


def damage(checkpoint: Path) -> None:
    """Cut the files of a checkpoint in half."""
    for path in checkpoint.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_damaged_checkpoint_is_skipped_for_the_one_before(train_small, monkeypatch):
    every = Checkpoints.__init__
    monkeypatch.setattr(
        Checkpoints, "__init__", lambda self, folder: every(self, folder, every=0.0)
    )
    train_small("--run-dir", "whole")
    train_small("--run-dir", "broken")
    assert {p.name for p in Path("broken/checkpoints").iterdir()} == {"2", "3"}
    damage(Path("broken/checkpoints/3"))
    Path("broken/params.safetensors").unlink()
    status, out, err = train_small("--run-dir", "broken", "--resume", size=())
    assert (status, err) == (0, "")
    assert "resuming after epoch 2 of 3" in out
    whole, broken = Path("whole/params.safetensors"), Path("broken/params.safetensors")
    assert whole.read_bytes() == broken.read_bytes()
    whole, broken = (read_json(Path(run, "config.json")) for run in ("whole", "broken"))
    assert whole | {"output": None} == broken | {"output": None}
    for checkpoint in Path("broken/checkpoints").iterdir():
        damage(checkpoint)
    status, _, err = train_small("--run-dir", "broken", "--resume", size=())
    assert status == 2 and "no checkpoint in broken/checkpoints can be read" in err
    assert {p.name for p in Path("broken/checkpoints").iterdir()} == {"2", "3"}


def test_the_newest_two_checkpoints_are_kept_and_restored_to_the_bit(tmp_path):
    states = [({"W": jnp.full((2, 3), i / 3)}, np.int64(i)) for i in range(4)]
    with Checkpoints(tmp_path / "c", every=0.0) as saved:
        assert saved.latest() is None and saved.restore(states[0]) is None
        for epoch in (1, 2, 3):
            assert saved.save(epoch, states[epoch], now=True)
        assert saved.latest() == 3
        epoch, (params, count) = saved.restore(states[0])
    assert epoch == 3 and count == 3 and count.dtype == np.int64
    np.testing.assert_array_equal(params["W"], states[3][0]["W"])
    assert {p.name for p in (tmp_path / "c").iterdir()} == {"2", "3"}


def test_checkpoints_are_a_second_apart_unless_needed_now(tmp_path):
    with Checkpoints(tmp_path / "c", every=1000.0) as saved:
        assert saved.save(1, {"a": np.zeros(2)})
        assert not saved.save(2, {"a": np.zeros(2)})
        assert saved.save(3, {"a": np.zeros(2)}, now=True)
        assert saved.save(3, {"a": np.ones(2)}, now=True)  # there is one of this epoch
    assert {p.name for p in (tmp_path / "c").iterdir()} == {"1", "3"}


def test_without_a_folder_nothing_is_written():
    with Checkpoints(None) as saved:
        assert not saved.save(1, {}, now=True)
        assert saved.latest() is None and saved.restore({}) is None


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with Checkpoints(tmp_path / "taken" / "c") as saved:
        refused(lambda: saved.save(1, {"a": np.zeros(2)}), "cannot write", "taken/c")


# ---- metrics ---------------------------------------------------------------------------------

ROWS = [{"epoch": i, "cost": 1 / i} for i in (1, 2, 3, 4)]


def test_metrics_after_the_checkpoint_are_removed_and_new_ones_added(tmp_path):
    path = tmp_path / "metrics.jsonl"
    checkpoints.write_metrics(path, ROWS)
    metrics = Metrics(path, up_to_epoch=2)
    assert metrics.rows == checkpoints.read_metrics(path) == ROWS[:2]
    metrics.append({"epoch": 3, "cost": 0.25})
    assert checkpoints.read_metrics(path) == metrics.rows == [*ROWS[:2], {"epoch": 3, "cost": 0.25}]
    assert checkpoints.read_metrics(path, 1) == ROWS[:1]


def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS) + '{"epoch": 5, "co')
    assert checkpoints.read_metrics(path) == ROWS
    assert checkpoints.read_metrics(tmp_path / "none") == []


def test_metrics_without_a_file_are_kept_in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metrics = Metrics(None)
    metrics.append(ROWS[0])
    assert metrics.rows == ROWS[:1] and not list(tmp_path.iterdir())


def test_metrics_that_cannot_be_written_are_one_line(tmp_path):
    metrics = Metrics(tmp_path / "m" / "metrics.jsonl")
    (tmp_path / "m" / "metrics.jsonl").unlink()
    (tmp_path / "m").rmdir()
    refused(lambda: metrics.append(ROWS[0]), "cannot write", "metrics.jsonl")
