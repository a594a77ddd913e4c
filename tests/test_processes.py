"""Two real processes that train one model, or members of a sweep; what happens if one dies."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import yaml
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from dae_jax import processes, rows
from dae_jax.datasets.arrays import read_npy
from dae_jax.runs.checkpoints import read_metrics
from dae_jax.settings import shared
from dae_jax.settings.train import Settings
from helpers import ROOT, assert_one_line, refused

ROUNDING = 1e-6  # relative; sums over a minibatch are taken in another order
DA = ("train", "--data", "small.npz", "--n-hidden", "16", "--batch-size", "10", "--no-animate")
STACK = (
    *("pretrain", "--data", "small.npz", "--hidden", "12", "8", "--seeds", "3"),
    *("--pretrain-epochs", "3", "--batch-size", "10", "--finetune-epochs", "3"),
    *("--finetune-batch-size", "10", "--preset", "tutorial", "--block-size", "100"),
)


SLURM = {
    "SLURM_JOB_ID": "1234",
    "SLURM_NTASKS": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_NODELIST": "localhost",
}
CLUSTER = ROOT / "docs" / "cluster"


STARTED: list[subprocess.Popen[str]] = []
"""The processes of a test, which may have failed before they ended."""


@pytest.fixture
def data(here):
    """Images in ``small.npz`` of an empty working directory; ends the processes of the test."""
    rng = np.random.default_rng(0)
    np.savez("small.npz", x=rng.integers(0, 256, (240, 64), np.uint8), y=rng.integers(0, 3, 240))
    yield here
    while STARTED:
        with STARTED.pop() as process:
            process.kill()


def started(index, port, *argv, slurm=False):
    """A process of two, with one device, whose errors are in a file ``INDEX.err``.

    With `slurm` it finds the other one by what Slurm tells it, and not by flags.
    """
    environment = os.environ | {"XLA_FLAGS": "", "PYTHONUNBUFFERED": "1"}
    where = ("--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--process", str(index))
    if slurm:
        environment |= SLURM | {"SLURM_PROCID": str(index), "SLURM_LOCALID": str(index)}
        environment |= {"JAX_COORDINATOR_PORT": str(port)}
        where = ()
    command = [sys.executable, "-m", f"dae_jax.{argv[0]}", *argv[1:], *where]
    with open(f"{index}.err", "w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
    STARTED.append(process)
    return process


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


def both(*argv, other=None, slurm=False):
    """Run two processes to their end: (status, stdout, stderr) of each."""
    port, each = free_port(), (argv, argv if other is None else other)
    two = [started(i, port, *own, slurm=slurm) for i, own in enumerate(each)]
    return [ended(process, i) for i, process in enumerate(two)]


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
def test_two_processes_of_slurm_give_the_costs_of_one_and_the_first_one_alone_speaks():
    argv = (*DA, "--epochs", "3", "--shuffle", "--block-size", "100", "--run-dir")
    first, second = both(*argv, "two", slurm=True)
    assert (first[0], first[2], second) == (0, "", (0, "", ""))
    assert first[1].startswith("2 processes with 2 devices: minibatches are split over them")
    assert len(list(Path("filters").iterdir())) == 5
    alone(*argv, "one")
    np.testing.assert_allclose(costs("two"), costs("one"), rtol=ROUNDING)


@pytest.mark.usefixtures("data")
def test_members_are_the_runs_of_one_process_to_the_bit():
    # three seeds on two processes: the last one is trained by both, and alone in the end
    argv = (*STACK, "--finetune-epochs", "120", "--finetune-learning-rate", "2", "--run-dir")
    alone(*argv, "one")
    first, second = both(*argv, "two")
    assert (first[0], first[2], second) == (0, "", (0, "", ""))
    assert models("two") == models("one")
    finetuning = [read_metrics(Path(run, "finetune/metrics.jsonl")) for run in ("one", "two")]
    one, two = ([row["costs"] for row in rows] for rows in finetuning)
    assert one == two
    rests = np.equal(one[-1], one[-2])
    assert rests.any() and not rests.all()


@pytest.mark.slow
@pytest.mark.usefixtures("data")
def test_members_are_the_same_to_the_bit_after_a_kill():
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


@pytest.mark.slow
@pytest.mark.usefixtures("data")
def test_two_processes_resume_what_two_have_begun_to_the_bit():
    argv = (*DA, "--epochs", "40", "--run-dir")
    assert both(*argv, "whole")[0][0] == 0
    port = free_port()
    first, second = (started(i, port, *argv, "r") for i in (0, 1))
    wait_for(first, "epoch 20/")
    second.kill()
    assert (ended(first, 0)[0], ended(second, 1)[0]) == (2, -signal.SIGKILL)
    out = both(*argv, "r", "--resume")[0][1]
    assert "resuming after epoch" in out
    assert models("r") == models("whole") and costs("r") == costs("whole")


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


@pytest.mark.slow
@pytest.mark.usefixtures("data")
def test_another_number_of_devices_is_named_by_both():
    argv = (*DA, "--epochs", "3", "--run-dir", "r")
    for status, out, err in both(*argv, other=(*argv, "--devices", "2")):
        assert (status, out) == (2, "")
        assert_one_line(err, "--devices: expected as many in each process, got 1 and 2")


class Counted(rows.Computed):
    """Rows that remember which of them were computed."""

    def read_into(self, out, start):
        self.seen.append((start, start + out.shape[self.axis]))
        super().read_into(out, start)


def mesh_of_two(*axes):
    return jax.make_mesh((2,) if len(axes) == 1 else (1, 2), axes, (AxisType.Auto,) * len(axes))


@pytest.mark.parametrize("stop", [17, 16, 4])
def test_each_device_reads_a_part_of_a_block_and_gets_all_of_it(stop):
    array = np.random.default_rng(0).integers(0, 256, (20, 3), np.uint8)
    some = Counted(array, lambda x: x, array.shape, np.uint8)
    some.seen = []
    found = processes.read_apart(some, 3, stop, mesh_of_two("data"))
    np.testing.assert_array_equal(found, array[3:stop])
    assert found.dtype == np.uint8 and found.sharding.is_fully_replicated
    half = -(-(stop - 3) // 2)
    assert some.seen == [(3, 3 + half), *([(3 + half, stop)] if half < stop - 3 else [])]


@pytest.mark.parametrize("axes", [("member",), ("member", "data")])
def test_codes_of_members_are_computed_in_parts_and_spread(axes):
    array = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    some = Counted(array, lambda x: np.stack([x, 2 * x, 3 * x]), (3, 20, 3))
    some.seen = []
    mesh = mesh_of_two(*axes)
    found = processes.read_apart(some, 5, 18, mesh, np.array([0, 1, 2, 2]))
    np.testing.assert_array_equal(found, [k * array[5:18] for k in (1, 2, 3, 3)])
    assert some.seen == [(5, 12), (12, 18)]
    assert found.sharding.is_equivalent_to(NamedSharding(mesh, PartitionSpec("member")), 3)


def test_the_checksum_of_a_block_is_that_of_its_parts(here):
    array = np.random.default_rng(0).integers(0, 256, (20, 3), np.uint8)
    np.save("x.npy", array)
    apart, whole = read_npy("x.npy", leave=0), read_npy("x.npy", leave=0)
    processes.read_apart(apart, 3, 18, mesh_of_two("data"))
    whole.block(3, 18)
    places = [(3, 18)]
    assert apart.checksums(places) == whole.checksums(places) != [0]
    resumed = read_npy("x.npy", leave=0)
    resumed.expect(places, whole.checksums(places) + np.uint32(1))
    refused(lambda: processes.read_apart(resumed, 3, 18, mesh_of_two("data")), "rows 3 to 18")


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
        ({"devices": 10**9}, "--devices: expected at most 1,024, got 1,000,000,000"),
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


def test_the_manifest_starts_as_many_pods_as_the_command_has_processes():
    manifest = yaml.safe_load((CLUSTER / "jobset.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (job,) = manifest["spec"]["replicatedJobs"]
    pods = job["template"]["spec"]
    assert pods["parallelism"] == pods["completions"]
    (container,) = pods["template"]["spec"]["containers"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pods["template"]["spec"]["volumes"]}
    name = manifest["metadata"]["name"]
    for index in range(pods["completions"]):
        (line,) = container["args"]
        machine = parsed(line.replace("$JOB_COMPLETION_INDEX", str(index))).machine
        assert (machine.started, machine.process) == (pods["completions"], index)
        # the first pod of the first job, as JobSet names it
        assert machine.coordinator == f"{name}-{job['name']}-0-0.{name}:5000"


def test_the_batch_script_is_one_that_bash_and_the_command_understand(monkeypatch):
    script = CLUSTER / "train.sbatch"
    subprocess.run(["bash", "-n", script], check=True)
    (line,) = [line for line in script.read_text().splitlines() if line.startswith("srun")]
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    assert parsed(line).machine.started == 2


def parsed(line):
    """The checked settings of a command in a line of a script."""
    words = shlex.split(line)
    settings = shared.parse(Settings, words[words.index("dae_jax.train") + 1 :])
    settings.check()
    assert settings.output.resume and settings.n_members == 4
    return settings


def test_one_process_agrees_with_itself():
    tree = {"a": np.arange(3.0), "b": (np.array(1), None)}
    assert processes.agreed(tree) is tree and processes.told(None, tree) is None
    assert processes.told(tree, tree) is tree and processes.told_bytes(b"x") == b"x"
    assert processes.first() and processes.count() == 1
    assert processes.decided(True) and not processes.any_of(False)
