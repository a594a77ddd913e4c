"""Checkpoints and metrics: complete or skipped, and nothing after the point of resuming."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dae_jax.runs import checkpoints
from dae_jax.runs.checkpoints import Checkpoints, Metrics
from dae_jax.settings import shared
from helpers import refused


def damage(checkpoint: Path) -> None:
    """Cut the files of a checkpoint in half."""
    for path in checkpoint.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_damaged_checkpoint_is_skipped_for_the_one_before(train_small, monkeypatch):
    every = Checkpoints.__init__
    monkeypatch.setattr(
        Checkpoints, "__init__", lambda self, folder, **how: every(self, folder, every=0.0, **how)
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
    whole, broken = (shared.read_record(run) for run in ("whole", "broken"))
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


def two_checkpoints(folder):
    """The states of epochs 1 and 2, and their files."""
    rng = np.random.default_rng(0)
    states = [({"W": rng.random((30, 20), np.float32)}, np.int64(i)) for i in range(3)]
    with Checkpoints(folder, every=0.0) as saved:
        for epoch in (1, 2):
            saved.save(epoch, states[epoch], now=True)
    return states, sorted(path for path in (folder / "2").rglob("*") if path.is_file())


# Orbax's threads complain when they are collected; the commands keep this away from the user.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_a_flipped_bit_never_gives_another_state(tmp_path, capfd):
    states, paths = two_checkpoints(tmp_path / "c")
    fallen = []
    for path in paths:
        size = path.stat().st_size
        for at in sorted({0, size // 3, size // 2, size - 1} if size else ()):
            copied = tmp_path / "copy"
            shutil.copytree(tmp_path / "c", copied)
            damaged = copied / path.relative_to(tmp_path / "c")
            content = bytearray(damaged.read_bytes())
            content[at] ^= 4
            damaged.write_bytes(content)
            with Checkpoints(copied) as saved:
                epoch, state = saved.restore(states[0])
            jax.tree.map(np.testing.assert_array_equal, state, states[epoch])
            out, err = capfd.readouterr()
            assert not err
            if epoch == 1:
                fallen.append(path)
                assert out == "the checkpoint of epoch 2 is damaged: that of 1 is used\n"
                assert {p.name for p in copied.iterdir()} == {"1"}
            shutil.rmtree(copied)
    assert any("d" in path.parts for path in fallen)  # the arrays themselves


def test_a_checkpoint_of_an_earlier_version_is_read_and_said_to_be_unverified(tmp_path, capfd):
    states, _ = two_checkpoints(tmp_path / "c")
    shutil.rmtree(tmp_path / "c/2/sha256")
    with Checkpoints(tmp_path / "c") as saved:
        epoch, state = saved.restore(states[0])
    assert epoch == 2
    jax.tree.map(np.testing.assert_array_equal, state, states[2])
    assert capfd.readouterr().out.count("unverified") == 1


def test_checkpoints_newer_than_what_is_of_use_are_removed(tmp_path):
    states, _ = two_checkpoints(tmp_path / "c")
    with Checkpoints(tmp_path / "c") as saved:
        epoch, _ = saved.restore(states[0], up_to=1)
        assert epoch == 1 and saved.latest() == 1
        assert saved.restore(states[0], up_to=0) is None and saved.latest() is None


def test_checkpoints_take_at_most_a_fiftieth_of_the_time(tmp_path, monkeypatch):
    clock, state = SimpleNamespace(now=0.0), {"a": np.zeros(2)}

    def slow_disk(*_):
        clock.now += 3

    monkeypatch.setattr(checkpoints, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(checkpoints, "writable_folder", slow_disk)
    with Checkpoints(tmp_path / "c") as saved:
        assert saved.save(1, state)
        clock.now = 3 + 149
        assert not saved.due() and not saved.save(2, state)
        clock.now = 3 + 151
        assert saved.due() and saved.save(3, state)


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


def test_rows_up_to_the_first_damaged_one_are_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    checkpoints.write_metrics(path, ROWS)
    content = path.read_bytes()
    starts = [0] + [i + 1 for i in range(len(content)) if content[i : i + 1] == b"\n"]
    for at in range(len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 1
        path.write_bytes(flipped)
        intact = sum(start <= at for start in starts) - 1
        rows = checkpoints.read_metrics(path)
        assert rows == ROWS[: len(rows)] and len(rows) in (intact, len(ROWS)), at
        if len(rows) == len(ROWS):  # the flip turned a space into none or the end into another one
            assert content[at : at + 1] in b" \n", at
    for damaged, n in ((b"", 0), (bytes(80), 0), (content[: starts[2]] + bytes(50), 2)):
        path.write_bytes(damaged)
        assert checkpoints.read_metrics(path) == ROWS[:n]
    path.write_bytes(content[starts[1] :])  # without the first row
    assert checkpoints.read_metrics(path) == []


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
