"""The free memory is the least that anything leaves to the process."""

from pathlib import Path

import psutil
import pytest

from dae_jax import memory
from helpers import refused


def test_what_does_not_fit_is_refused_with_both_numbers_and_a_remedy(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 3_000_000)
    memory.check("x", 3_000_000, "buy some")
    message = refused(lambda: memory.check("x", 4_700_000_000_000, "buy some"))
    assert message == (
        "x: expected at most 3 MB, the memory that is free, got 4.7 TB needed; buy some"
    )


def test_the_free_memory_is_at_most_that_of_the_machine():
    most = psutil.virtual_memory().total + psutil.swap_memory().total
    assert 1e6 < memory.available() <= most


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_control_groups_of_both_versions_leave_their_limits_minus_what_cannot_be_freed(tmp_path):
    root, proc = tmp_path / "cgroup", tmp_path / "proc"
    unlimited = {"memory__max": "max", "memory__current": 9, "memory__stat": "anon 9"}
    group(root / "a/b", **unlimited)
    group(root / "a", memory__max=1000, memory__current=700, memory__stat="inactive_file 200")
    old = {"memory__limit_in_bytes": 5000, "memory__usage_in_bytes": 1000}
    group(root / "memory", **old, memory__stat="cache 7\ntotal_inactive_file 50")
    proc.write_text("4:memory:/of/the/host\n3:cpu,cpuacct:/x\n0::/a/b\n")
    assert sorted(memory._cgroups(proc, root)) == [500, 4050]
    assert list(memory._cgroups(tmp_path / "none", root)) == []


def test_a_limit_of_a_group_or_of_the_process_counts(monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(memory, "_cgroups", lambda: iter([12_345]))
    assert memory.available() == 12_345
    monkeypatch.setattr(memory, "_cgroups", lambda: iter(()))
    own = psutil.Process().memory_info().vms
    monkeypatch.setattr(resource, "getrlimit", lambda _: (own + 10**6, own + 10**6))
    assert memory.available() < 10**8
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1, 1))
    assert memory.available() == 0
