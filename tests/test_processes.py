"""Two real processes that train one model, or members of a sweep; what happens if one dies."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dae_jax import processes
from dae_jax.settings import shared
from helpers import assert_one_line, refused

ROUNDING = 1e-6  # relative; sums over a minibatch are taken in another order
DA = ("train", "--data", "small.npz", "--n-hidden", "16", "--batch-size", "10", "--no-animate")
STACK = (
    *("pretrain", "--data", "small.npz", "--hidden", "12", "8", "--seeds", "3"),
    *("--pretrain-epochs", "3", "--batch-size", "10", "--finetune-epochs", "3"),
    *("--finetune-batch-size", "10", "--preset", "tutorial"),
)


@pytest.fixture
def data(here):
    """Images in ``small.npz`` of an empty working directory."""
    rng = np.random.default_rng(0)
    np.savez("small.npz", x=rng.integers(0, 256, (240, 64), np.uint8), y=rng.integers(0, 3, 240))
    return here


def started(index, port, *argv):
    """A process of two, with one device, whose errors are in a file ``INDEX.err``."""
    environment = os.environ | {"XLA_FLAGS": "", "PYTHONUNBUFFERED": "1"}
    where = ("--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--process", str(index))
    command = [sys.executable, "-m", f"dae_jax.{argv[0]}", *argv[1:], *where]
    with open(f"{index}.err", "w") as errors:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )


def ended(process, index, seconds=60):
    """Its status, and what it wrote to stdout and stderr."""
    out, _ = process.communicate(timeout=seconds)
    return process.returncode, out, Path(f"{index}.err").read_text()


def wait_for(first, start):
    """Read the lines of the first process until one starts so."""
    for line in first.stdout:
        if line.startswith(start):
            return
    raise AssertionError(ended(first, 0))


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def both(*argv, other=None):
    """Run two processes to their end: (status, stdout, stderr) of each."""
    port = free_port()
    two = [started(0, port, *argv), started(1, port, *(argv if other is None else other))]
    try:
        return [ended(process, i) for i, process in enumerate(two)]
    finally:
        for process in two:
            process.kill()


def alone(*argv):
    environment = os.environ | {"XLA_FLAGS": ""}
    command = [sys.executable, "-m", f"dae_jax.{argv[0]}", *argv[1:]]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, check=True, timeout=60
    )


def costs(run):
    lines = Path(run, "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["cost"] for line in lines]


def models(run):
    return {path.relative_to(run): path.read_bytes() for path in Path(run).rglob("*.safetensors")}


@pytest.mark.usefixtures("data")
def test_two_processes_give_the_costs_of_one_and_the_first_one_alone_speaks():
    first, second = both(
        *DA, "--epochs", "3", "--run-dir", "two", "--shuffle", "--block-size", "100"
    )
    assert (first[0], first[2], second) == (0, "", (0, "", ""))
    assert first[1].startswith("2 processes with 2 devices, which split every minibatch")
    assert len(list(Path("filters").iterdir())) == 5
    alone(*DA, "--epochs", "3", "--run-dir", "one", "--shuffle", "--block-size", "100")
    np.testing.assert_allclose(costs("two"), costs("one"), rtol=ROUNDING)


@pytest.mark.usefixtures("data")
def test_members_are_the_runs_of_one_process_to_the_bit_even_after_a_kill():
    # three seeds on two processes: the last one is trained by both
    alone(*STACK, "--run-dir", "one")
    port = free_port()
    first, second = (started(i, port, *STACK, "--run-dir", "two") for i in (0, 1))
    wait_for(first, "layer 2")
    second.kill()
    status, _, err = ended(first, 0)
    assert status == 2
    assert_one_line(err, "another process has ended", "--resume")
    ended(second, 1)
    first, second = both(*STACK, "--run-dir", "two", "--resume")
    assert (first[0], first[2], second) == (0, "", (0, "", ""))
    assert models("two") == models("one")


@pytest.mark.slow
@pytest.mark.usefixtures("data")
def test_the_death_of_the_first_ends_the_other_and_one_process_alone_goes_on():
    port = free_port()
    argv = (*DA, "--epochs", "400", "--run-dir", "r")
    first, second = (started(i, port, *argv) for i in (0, 1))
    wait_for(first, "epoch 40/")
    first.kill()
    status, out, err = ended(second, 1)
    assert (status, out) == (2, "")
    assert_one_line(err, "another process has ended", "--resume")
    ended(first, 0)
    assert "resuming after epoch" in alone(*argv, "--resume").stdout
    alone(*DA, "--epochs", "400", "--run-dir", "one")
    np.testing.assert_allclose(costs("r"), costs("one"), rtol=1e-4)


@pytest.mark.usefixtures("data")
def test_a_signal_to_any_process_stops_all_of_them_with_a_checkpoint():
    port = free_port()
    argv = (*DA, "--epochs", "100000", "--run-dir", "r")
    first, second = (started(i, port, *argv) for i in (0, 1))
    metrics = Path("r/metrics.jsonl")
    while not (metrics.exists() and metrics.stat().st_size):
        time.sleep(0.1)
        assert first.poll() is None, ended(first, 0)
    second.send_signal(signal.SIGTERM)
    status, out, err = ended(first, 0)
    assert (status, err) == (130, "")
    assert "stopped after epoch" in out and "resume with:" in out
    assert ended(second, 1) == (143, "", "")


@pytest.mark.usefixtures("data")
def test_other_settings_are_named_by_the_process_that_has_them():
    argv = (*DA, "--epochs", "3", "--run-dir", "r")
    other = [word.replace("16", "17") for word in argv]
    (status, _, err), (other_status, _, other_err) = both(*argv, other=other)
    assert (status, other_status) == (2, 2)
    assert_one_line(err, "process 1 differs from the first")
    assert_one_line(other_err, "process 1 differs from the first: --n-hidden is 16 there, 17 here")
    assert not Path("r").exists()


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.usefixtures("data")
def test_a_process_that_meets_nobody_says_so_in_time(index):
    start = time.monotonic()
    process = started(index, free_port(), *DA, "--connect-timeout", "2")
    status, out, err = ended(process, index)
    assert (status, out) == (2, "")
    assert_one_line(err, f"process {index}: the 2 processes have not met in 2 seconds")
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ({"processes": 0}, "--processes: expected a whole number of at least 1"),
        ({"process": 0}, "--processes: expected the number of processes"),
        ({"processes": 2, "process": 1}, "--coordinator: expected one, beside --process"),
        ({"processes": 2, "coordinator": "a:1"}, "--process: expected one, beside --coordinator"),
        ({"processes": 2, "coordinator": "a", "process": 1}, "--coordinator: expected an address"),
        ({"processes": 2, "coordinator": "a:1", "process": 2}, "--process: expected 0 to 1"),
        (
            {"processes": "auto", "coordinator": "a:1", "process": -1},
            "--process: expected at least",
        ),
        ({"connect_timeout": 0}, "--connect-timeout"),
    ],
)
def test_what_is_missing_or_out_of_range_is_named(machine, words):
    refused(lambda: shared.check_machine(shared.Machine(**machine)), words)


def test_launchers_say_how_many_processes_they_have_started(monkeypatch):
    for name in shared.TASKS:
        monkeypatch.delenv(name, raising=False)
    assert shared.Machine().started == 1
    for name in shared.TASKS:
        with monkeypatch.context() as patch:
            patch.setenv(name, "4")
            assert (shared.Machine().started, shared.Machine(processes=1).started) == (4, 1)
            assert shared.Machine().each(members=6) == 2
    assert shared.Machine(processes="auto").started is None


def test_one_process_agrees_with_itself():
    tree = {"a": np.arange(3.0), "b": (np.array(1), None)}
    assert processes.agreed(tree) is tree and processes.told(None, tree) is None
    assert processes.told(tree, tree) is tree and processes.told_bytes(b"x") == b"x"
    assert processes.first() and processes.count() == 1
    assert processes.decided(True) and not processes.any_of(False)
