"""How fast is dae_jax? Contestants measured in turns (A B C A B C ...), in one run.

    pip install ".[bench]" && python benchmarks/speed.py [--quick] [--json OUT] [--only TABLE ...]

Seconds drift with a machine's load and temperature, ratios of neighbours in time hardly do: what
counts is the median of the rounds' ratios. benchmarks/README.md says how to read the tables.
"""

import contextlib
import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal, get_args

import numpy as np

from dae_jax import command, files

Table = Literal[
    "batch-20",
    "batch-128",
    "hidden",
    "batch-size",
    "images",
    "sweep",
    "start-up",
    "memory",
    "total",
]
LEVEL, RATE, HIDDEN = 0.3, 0.1, 500
Row = dict[str, Any]  # a contestant's seconds and the cost of its first epoch, or skip: the reason
Epoch = Callable[[], float | None]  # trains for one epoch and tells its mean cost


@dataclass(frozen=True)
class Settings:
    """Measure dae_jax against PyTorch and against bare matrix products."""

    quick: bool = False
    """Few images, two rounds: shows whether the script works; its numbers mean nothing."""
    json: Path | None = None
    """Where to write every number."""
    only: tuple[Table, ...] = get_args(Table)
    """The tables to measure; total is for GPUs only."""


# The contestants. Each runs in a worker of its own, which imports what it needs.


def dae_jax(
    folder: Path, batch: int, hidden: int = HIDDEN, levels=(LEVEL,), images=None, epochs=1, **_: Any
) -> Epoch:
    import jax

    from dae_jax import autoencoder, training

    command.set_up_jax("float32", len(levels))
    optimizer = training.optimiser("sgd", RATE)
    data = np.load(folder / "images.npy")[:images]

    def begin(level: float) -> Any:
        numbers = {"level": jax.numpy.float32(level), "pixel_scale": jax.numpy.float32(255)}
        cost = jax.tree_util.Partial(autoencoder.denoising_cost, **numbers)
        params = autoencoder.init_tutorial(123, data.shape[1], hidden)
        return cost, training.start_state(params, optimizer), jax.random.key(123)

    members = [begin(level) for level in levels]
    start = training.stack(members) if len(members) > 1 else members[0]
    how: Any = {"optimizer": optimizer, "epochs": sys.maxsize, "batch_size": batch}
    reports = training.fit(start[0], start[1], data, start[2], **how)
    # A report has waited for the device. A sweep's first level is the one that others have alone.
    return lambda: [next(reports).cost.reshape(-1)[0].item() for _ in range(epochs)][-1]


def load_torch(folder: Path, batch: int, device: str) -> tuple[Any, list[Any], Any]:
    """PyTorch, the minibatches on its device, and the initial weights."""
    if importlib.util.find_spec("torch") is None:
        raise RuntimeError('no PyTorch here: pip install ".[bench]"')
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("this PyTorch finds no CUDA")
    torch.manual_seed(123)
    data = torch.from_numpy(np.load(folder / "images.npy")).to(device)
    # Floats once and for all: four times the memory that dae_jax takes, and less work a step.
    batches = (data[: len(data) // batch * batch].float() / 255).split(batch)
    return torch, list(batches), torch.from_numpy(np.load(folder / "W.npy")).to(device)


def autograd(folder: Path, batch: int, device: str, compiled: bool = False, **_: Any) -> Epoch:
    """Idiomatic PyTorch, without needless waits or copies; perhaps with the loss compiled."""
    torch, batches, W = load_torch(folder, batch, device)
    nn = torch.nn.functional
    W = W.T.contiguous().requires_grad_()  # (hidden, visible), as nn.Linear keeps it
    b, b_prime = (torch.zeros(n, device=device, requires_grad=True) for n in W.shape)
    optimizer = torch.optim.SGD([W, b, b_prime], lr=RATE, fused=True)  # foreach is no faster

    def loss(x: Any) -> Any:
        mask = torch.empty_like(x).bernoulli_(1 - LEVEL)
        y = torch.sigmoid(nn.linear(x * mask, W, b))
        a = nn.linear(y, W.T, b_prime)
        return nn.binary_cross_entropy_with_logits(a, x, reduction="sum") / batch

    if compiled:
        compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
        if not shutil.which(compiler):
            raise RuntimeError(f"torch.compile needs a C++ compiler, and there is no {compiler}")
        loss = torch.compile(loss)

    def epoch() -> float:
        total = torch.zeros((), device=device)
        for x in batches:
            optimizer.zero_grad(set_to_none=True)
            cost = loss(x)
            cost.backward()
            optimizer.step()
            total += cost.detach()
        return total.item() / len(batches)  # the only wait for the device

    return epoch


def in_place(folder: Path, batch: int, device: str, graph: bool = False, **_: Any) -> Epoch:
    """The best PyTorch we could write: gradients by hand, preallocated buffers, updates in place.

    W's gradient has two parts, x_tilde^T dh and da^T y. They are one product of stacked factors,
    whose halves are the very buffers that the step works in.
    """
    torch, batches, W = load_torch(folder, batch, device)
    n_visible, n_hidden = W.shape
    new = partial(torch.zeros, device=device)
    first, b, b_prime, total = W.clone(), new(n_hidden), new(n_visible), new(())
    left, right = new(2 * batch, n_visible), new(2 * batch, n_hidden)
    (x_tilde, da), (dh, y) = left.split(batch), right.split(batch)
    now, mask, a, log_z = (new(batch, n_visible) for _ in range(4))
    dy, rate = new(batch, n_hidden), -RATE / batch

    def step(x: Any) -> None:
        torch.mul(x, mask.bernoulli_(1 - LEVEL), out=x_tilde)
        torch.addmm(b, x_tilde, W, out=y).sigmoid_()
        torch.addmm(b_prime, y, W.T, out=a)
        torch.sigmoid(a, out=da)
        torch.log(da, out=log_z).sub_(a).addcmul_(x, a)  # cost: (1 - x) a - log z, summed
        total.sub_(log_z.sum(), alpha=1 / batch)
        da.sub_(x)
        torch.mm(da, W, out=dy)
        torch.mul(y, y, out=dh)
        torch.sub(y, dh, out=dh).mul_(dy)
        W.addmm_(left.T, right, alpha=rate)
        b.add_(dh.sum(0), alpha=rate)
        b_prime.add_(da.sum(0), alpha=rate)

    replay = None
    if graph:
        replay = graphed(torch, torch.inference_mode()(partial(step, now)))
        W.copy_(first)  # as if its try had not been
        b.zero_()
        b_prime.zero_()

    @torch.inference_mode()
    def epoch() -> float:
        total.zero_()
        for x in batches:
            if replay:
                now.copy_(x)
                replay()
            else:
                step(x)
        return total.item() / len(batches)

    return epoch


def graphed(torch: Any, step: Callable[[], Any]) -> Callable[[], None]:
    """`step` as one CUDA graph; run once before, on a side stream, as recording asks for."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def floor(folder: Path, batch: int, device: str, **_: Any) -> Epoch:
    """A step's five matrix products alone: NumPy's BLAS, or on a GPU cuBLAS in a CUDA graph."""
    n_batches = len(np.load(folder / "images.npy", mmap_mode="r")) // batch
    W = np.load(folder / "W.npy")
    x = np.random.default_rng(0).random((batch, len(W)), np.float32)
    arrays: Any = W, x, x @ W, x.copy(), W.copy()
    product: Any = np.matmul
    if device == "cuda":
        torch = load_torch(folder, batch, device)[0]
        product, arrays = torch.mm, [torch.from_numpy(array).cuda() for array in arrays]
    W, x, h, v, gradient = arrays

    def step() -> None:
        product(x, W, out=h)
        product(h, W.T, out=v)
        product(v, W, out=h)
        product(x.T, h, out=gradient)
        product(v.T, h, out=gradient)

    run = graphed(torch, step) if device == "cuda" else step

    def epoch() -> None:
        for _ in range(n_batches):
            run()
        float(gradient[0, 0])  # waits for a GPU

    return epoch


# The workers: a process each, so that the thread pools of JAX, PyTorch and NumPy stay apart.


def work(folder: Path, how: Row) -> None:
    """One untimed epoch, in which all is compiled, then a timed one for every line on stdin."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not get between the answers
    contestant = {f.__name__: f for f in (dae_jax, autograd, in_place, floor)}[how["contestant"]]
    try:
        epoch = contestant(folder, **how)
        print(json.dumps({"cost": epoch(), "seconds": []}), file=channel, flush=True)
    except Exception as error:  # a row that says why; the others go on
        reason = str(error).split("\n")[0] or repr(error)
        return print(json.dumps({"skip": reason}), file=channel, flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        epoch()
        print(time.perf_counter() - began, file=channel, flush=True)


def prepare(folder: Path, how: Row) -> None:
    """Write images, initial weights and facts, so that the parent loads neither them nor JAX."""
    import jax

    from dae_jax import autoencoder, datasets

    dataset = datasets.load_default()
    data = dataset.train.images[: 5000 if how["quick"] else None]
    np.save(folder / "images.npy", data)
    np.save(folder / "W.npy", autoencoder.init_tutorial(123, data.shape[1], HIDDEN).W)
    kind = jax.devices()[0].device_kind
    facts = {"data": dataset.name, "images": len(data), "backend": jax.default_backend()}
    (folder / "about.json").write_text(json.dumps(facts | {"device": kind}))


def call(folder: Path, how: Row) -> subprocess.Popen:
    words = [sys.executable, __file__, "--in-worker", str(folder), json.dumps(how)]
    return subprocess.Popen(words, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@contextlib.contextmanager
def worker(folder: Path, how: Row) -> Iterator[Callable[[str], Any]]:
    """A contestant's process, as a function that writes a line to it and waits for the answer."""
    process: Any = call(folder, how)

    def ask(line: str) -> Any:
        process.stdin.write(line)
        process.stdin.flush()
        if answer := process.stdout.readline():
            return json.loads(answer)
        raise SystemExit(f"{how}: its process ended with status {process.wait()}")

    try:
        yield ask
    finally:
        process.kill()
        process.communicate()


def busy_share(seconds: float) -> float:
    """How busy the cores are while no contestant runs; 0 where Linux does not tell."""
    stat, ticks = Path("/proc/stat"), []
    for pause in (seconds, 0):
        line = stat.read_text().split()[1:9] if stat.exists() else [0] * 8
        ticks.append(np.array(line, int))
        time.sleep(pause)
    passed = ticks[1] - ticks[0]
    return float(1 - passed[3:5].sum() / passed.sum()) if passed.any() else 0.0


def measure(folder: Path, rounds: int, entries: dict[str, Row]) -> dict[str, Row]:
    """All entries in turns; the first is the one that the others are compared with."""
    with contextlib.ExitStack() as stack:
        asks = {name: stack.enter_context(worker(folder, how)) for name, how in entries.items()}
        rows: dict[str, Row] = {name: ask("") for name, ask in asks.items()}
        for name in [name for _ in range(rounds) for name in rows if "skip" not in rows[name]]:
            # Threads of OpenMP and OpenBLAS spin for up to .2 s after their last work. Forbidding
            # it (OMP_WAIT_POLICY=PASSIVE) would slow PyTorch down; so they get time to go to sleep.
            time.sleep(0.25)
            rows[name].setdefault("others", []).append(busy_share(0.25))
            rows[name]["seconds"].append(asks[name]("go\n"))
    if reason := next(iter(rows.values())).get("skip"):
        raise SystemExit(f"{next(iter(rows))}: {reason}")
    return rows


# The training command with an epoch of one minibatch: its metrics are written right after the first
# update, with tracing and the loading of the compiled program behind it.
ONE_UPDATE = """
from dae_jax import train, training
fit = training.fit
def one_update(cost, state, images, *rest, **how):
    return fit(cost, state, images[:how["batch_size"]], *rest, **how)
training.fit = one_update
raise SystemExit(train.cli())
"""


def run_train(folder: Path, data: str, *words: str) -> tuple[float, float]:
    """Seconds from the start of the process to its last metrics, and its peak of resident MB."""
    out = Path(tempfile.mkdtemp(dir=folder))
    flags = ["--data", data, "--run-dir", str(out / "run"), "--output-dir", str(out / "figures")]
    began = time.time()
    process = subprocess.Popen([sys.executable, *words, *flags], stdout=subprocess.DEVNULL)
    # Of this child alone. Linux counts in what its parent has: so that has no JAX and no images.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the training command ended with status {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return (out / "run/metrics.jsonl").stat().st_mtime - began, usage.ru_maxrss * unit / 1e6


# The tables.


def entries_of(table: str, about: Row) -> dict[str, Row]:
    """What runs against what; the first is the reference."""
    gpu, n = about["backend"] != "cpu", about["images"]
    jax: Row = {"contestant": "dae_jax", "batch": 20}
    if table == "hidden":
        return {f"hidden {h}": jax | {"hidden": h} for h in (500, 125, 250, 1000, 2000)}
    if table == "batch-size":
        return {f"batch {b}": jax | {"batch": b} for b in (20, 5, 10, 50, 100, 200, 500)}
    if table == "images":
        return {f"images {k}": jax | {"images": k} for k in (n, n // 10, n // 4, n // 2)}
    if table == "sweep":
        levels = [LEVEL, *(0.05 * i for i in range(16 if gpu else 4) if i)]
        return {"one level": jax, f"{len(levels)} levels": jax | {"levels": levels}}
    if table == "total":
        return {"15 epochs": jax | {"epochs": 15}}
    how = {"batch": int(table.split("-")[1]), "device": "cuda" if gpu else "cpu"}
    entries: dict[str, Row] = {
        "dae_jax": jax | how,
        "PyTorch eager": how | {"contestant": "autograd"},
        "torch.compile": how | {"contestant": "autograd", "compiled": True},
        "PyTorch in place": how | {"contestant": "in_place"},
        "PyTorch in place, CUDA graph": how | {"contestant": "in_place", "graph": True},
        "floor": how | {"contestant": "floor"},
    }
    return {name: entry for name, entry in entries.items() if gpu or "graph" not in entry}


def ratio(a: Row, b: Row) -> float | None:
    pairs = list(zip(a.get("seconds", []), b.get("seconds", []), strict=False))
    return median(x / y for x, y in pairs) if pairs else None


def targets_of(table: str, rows: dict[str, Row]) -> list[tuple[str, float | None, str, float]]:
    """What was measured, its value, and what is wanted of it."""
    first, *others = rows.values()
    if table == "memory":
        return [("peak of resident memory, MB", first["MB"], "<=", 700)]
    if table == "start-up":
        return [("seconds to the first update", median(others[0]["seconds"]), "<=", 4)]
    if table == "total":
        return [("seconds for 15 epochs", median(first["seconds"]), "<=", 1)]
    if table == "sweep":
        times = ratio(others[0], first)
        if "16 levels" in rows:
            return [("16 levels / one", times, "<", 2)]
        return [("time a level / time of one alone", times and times / 4, "<=", 1)]
    if table not in ("batch-20", "batch-128"):
        return []
    torch = [times for row in others[:-1] if (times := ratio(row, first))]
    return [
        ("PyTorch eager / dae_jax", ratio(others[0], first), ">=", 2.3),
        ("best PyTorch / dae_jax", min(torch, default=None), ">=", 1.2),
        ("dae_jax / floor", ratio(first, rows["floor"]), "<=", 1.1),
    ]


def check_learning(rows: dict[str, Row]) -> None:
    """Who does not reach the first row's cost has done other work, so its seconds mean nothing."""
    costs = {name: row["cost"] for name, row in rows.items() if row.get("cost") is not None}
    (reference, wanted), *_ = costs.items()
    for name, cost in costs.items():
        if not abs(cost / wanted - 1) <= 0.01:
            raise SystemExit(f"{name}: cost {cost:.5g} after one epoch; {reference}: {wanted:.5g}")


def markdown(header: list[str], lines: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    for line in (header, ["-" * width for width in widths], *lines):
        print("| " + " | ".join(map(str.ljust, line, widths)) + " |")
    print(flush=True)


def show(table: str, rows: dict[str, Row]) -> None:
    """The table's seconds and ratios, then its targets."""
    first, lines = next(iter(rows)), []
    for name, row in rows.items():
        if seconds := row.get("seconds"):
            cost = "" if row.get("cost") is None else f"{row['cost']:.2f}"
            times = f"{ratio(row, rows[first]) or 0:.2f}"
            lines.append([name, f"{median(seconds):.3f}", f"{min(seconds):.3f}", times, cost])
        elif "skip" in row:
            lines.append([name, "", "", "", f"skipped: {row['skip']}"])
    others = max((median(row["others"]) for row in rows.values() if "others" in row), default=0)
    if others > 0.1:  # PyTorch's and NumPy's threads wait for each other, spinning
        print(
            f"*** Other work kept the cores {others:.0%} busy: it slows PyTorch most. Run again.\n"
        )
    if lines:
        markdown(["", "median s", "min s", f"times {first}", "cost of epoch 1"], lines)
    asked = []
    for what, value, sign, bound in targets_of(table, rows):
        told, reached = "not measured", ""
        if value is not None:
            reached = {">=": value >= bound, "<=": value <= bound, "<": value < bound}[sign]
            told, reached = f"{value:.2f}", "yes" if reached else "no"
        asked.append([what, told, f"{sign} {bound}", reached])
    if asked:
        markdown(["target", "measured", "wanted", "reached"], asked)


def run_table(table: str, folder: Path, about: Row, quick: bool) -> dict[str, Row]:
    rounds = 2 if quick else 7 if table in ("batch-20", "batch-128", "sweep") else 4
    if table == "memory":
        words = ["-m", "dae_jax.train", *(["--epochs", "1"] if quick else [])]
        return {"default run": {"MB": run_train(folder, about["data"], *words)[1]}}
    if table == "start-up":
        words = about["data"], "-c", ONE_UPDATE, "--epochs", "1"
        cold, *warm = (run_train(folder, *words)[0] for _ in range(1 + rounds))
        return {"nothing cached": {"seconds": [cold]}, "compiled before": {"seconds": warm}}
    rows = measure(folder, rounds, entries_of(table, about))
    if table in ("batch-20", "batch-128", "sweep"):
        check_learning(rows)
    return rows


def facts_of(about: Row) -> Row:
    """On what it was measured."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    facts = {"date": str(datetime.date.today()), "cpu": cpu, "cores": command._cores()} | about
    for name in ("jax", "torch", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            facts[name] = importlib.metadata.version(name)
    return facts


def main(argv: Sequence[str]) -> int:
    settings = command.parse(Settings, argv, "python benchmarks/speed.py")
    if settings.json:
        files.write_whole(settings.json, "{}\n")  # rather fail now than at the end
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # A cache of its own, so that the first start is a cold one; and one GPU for all workers.
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "xla")
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        if status := call(folder, {"quick": settings.quick}).wait():
            return status  # it has said why
        about = facts_of(json.loads((folder / "about.json").read_text()))
        markdown(["machine", ""], [[key, str(value)] for key, value in about.items()])
        numbers: Row = {"machine": about}
        for table in settings.only:
            if table == "total" and about["backend"] == "cpu":
                continue
            print(f"## {table}\n", flush=True)
            numbers[table] = run_table(table, folder, about, settings.quick)
            show(table, numbers[table])
            if settings.json:
                files.write_whole(settings.json, json.dumps(numbers, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--in-worker"]:
        how = json.loads(sys.argv[3])
        do = work if "contestant" in how else prepare
        sys.exit(command.run(lambda argv: do(Path(argv[1]), how)))
    sys.exit(command.run(main))
