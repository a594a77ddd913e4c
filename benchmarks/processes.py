"""When does a second process pay?

    python benchmarks/processes.py [--quick]

The command itself, as ``python -m dae_jax.train`` on MNIST, 784-500 with 30 % of the pixels masked:
one model whose minibatches are split over two devices or two processes, beside one device; and two
seeds, each on a device or in a process of its own. The processes are on this machine, so that the
network is as fast as it can be. Each row is the fastest of the epochs after the first one, which
compiles.
"""

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import turns

from dae_jax import console
from dae_jax.settings import shared

IMAGES, EPOCHS = 10_000, 8
BATCHES = (20, 200, 2_000)
WAYS = {
    "one device": (1, ()),
    "two devices": (1, ("--devices", "2")),
    "two processes": (2, ("--devices", "1")),
}
SEEDS = {
    "two seeds, one device": (1, ("--seeds", "2", "--devices", "1")),
    "two seeds, two devices": (1, ("--seeds", "2")),
    "two seeds, two processes": (2, ("--seeds", "2", "--devices", "1")),
}


@dataclass(frozen=True)
class Settings(turns.Settings):
    """Measure when a second process pays."""

    prog: ClassVar[str] = "python benchmarks/processes.py"


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def measure(folder: Path, batch: int, processes: int, flags: Sequence[str]) -> dict[str, Any]:
    """The seconds of the fastest epoch and the cost of the last one, of a run of the command."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        run = Path(name)
        words = [
            *(sys.executable, "-m", "dae_jax.train", "--data", str(folder / "images.npy")),
            *("--epochs", str(EPOCHS), "--batch-size", str(batch), "--no-animate", *flags),
            *("--run-dir", str(run), "--output-dir", str(run / "figures")),
        ]
        port, together = free_port(), []
        for i in range(processes):
            where = ("--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--process", str(i))
            own = [*words, *where] if processes > 1 else words
            together.append(subprocess.Popen(own, stdout=subprocess.PIPE, text=True))
        for process in together:
            process.communicate()
            if process.returncode:
                raise subprocess.CalledProcessError(process.returncode, words)
        lines = (run / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return {"seconds": min(row["seconds"] for row in rows[1:]), "cost": rows[-1]["cost"]}


def main(argv: Sequence[str]) -> None:
    """Measure all ways, and print the tables."""
    settings = shared.parse(Settings, argv)
    n = 400 if settings.quick else IMAGES
    batches = BATCHES[:1] if settings.quick else BATCHES
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        from dae_jax import datasets

        np.save(folder / "images.npy", datasets.load_default().train.images[:n])
        facts = {"data": "mnist", "images": n, "backend": "cpu", "device": "cpu"}
        report = turns.Report("processes", turns.facts_of(facts), turns.output_folder(settings))
        report.say_machine()
        table: dict[str, dict[str, Any]] = {}
        for batch in batches:
            for way, (processes, flags) in WAYS.items():
                table[f"batch {batch}, {way}"] = measure(folder, batch, processes, flags)
        for way, (processes, flags) in SEEDS.items():
            table[f"batch {BATCHES[0]}, {way}"] = measure(folder, BATCHES[0], processes, flags)
    report.numbers |= {"rows": table}
    n_train = n - 2 * (n // 10)  # without those that are held out, of a tenth each
    lines = []
    for way, row in table.items():
        batch = int(way.split()[1].rstrip(","))
        base = table[
            way.split(", ")[0] + (", two seeds" if "seeds" in way else "") + ", one device"
        ]
        step = row["seconds"] / (n_train // batch)
        lines.append(
            [
                way,
                f"{step * 1e6:,.0f}",
                f"{row['seconds'] / base['seconds']:.2f}",
                f"{abs(row['cost'] / base['cost'] - 1):.0e}",
            ]
        )
    header = ["", "µs a step", "times one device", "cost differs by"]
    report.say(turns.markdown(header, lines))
    report.write()


if __name__ == "__main__":
    sys.exit(console.run(main))
