"""The folder in which commands are tried: small data, trained runs, and odd paths."""

import contextlib
import os
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from tests.fuzz import processes

__all__ = ["add_oddities", "stock", "write_small"]

ROOT = Path(__file__).parents[2]
RUNS = {
    "runs/da": ("train", "--data", "small.npz", "--n-hidden", "5", "--epochs", "2",
                "--output-dir", "filters"),
    "runs/stack": ("pretrain", "--preset", "large-rate", "--data", "small.npz", "--hidden", "6",
                   "4", "--pretrain-epochs", "1", "--finetune-epochs", "2"),
    "runs/ladder": ("pretrain", "--preset", "few-labels", "--data", "small.npz", "--hidden", "6",
                    "--epochs", "2", "--labels", "30"),
}  # fmt: skip
"""The runs in the folder, by their names, and the commands that make them."""


def stock(shared: Path) -> Path:
    """A folder with data and runs, made once for all workers of a campaign."""
    folder = shared / "stock"
    if not folder.exists():
        new = Path(tempfile.mkdtemp(dir=shared))
        write_small(new / "small.npz")
        _write_others(new)
        streams = new / "streams"
        streams.mkdir()
        processes.import_everything()
        for name, (command, *argv) in RUNS.items():
            end = processes.forked(command, [*argv, "--run-dir", name], new, 300, streams)
            assert end.status == 0, end.err
        shutil.rmtree(streams)
        for checkpoints in list(new.glob("runs/ladder/**/checkpoints")):
            shutil.rmtree(checkpoints)  # two runs to resume are enough, and quicker to copy
        with contextlib.suppress(OSError):  # another worker was quicker
            new.rename(folder)
        shutil.rmtree(new, ignore_errors=True)
    return folder


def write_small(path: Path, n: int = 110) -> None:
    """Write n noisy copies of three patterns of 8 x 8 pixels, with their classes."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, n)
    patterns = rng.integers(0, 256, (3, 8, 8))
    noise = rng.integers(0, 256, (n, 8, 8))
    x = np.where(rng.random(noise.shape) < 0.35, patterns[classes], noise).astype(np.uint8)
    np.savez(path, x=x, y=classes)


def _write_others(folder: Path) -> None:
    """Write the same images as other kinds of files, a table, and what is hardly data."""
    from PIL import Image

    with np.load(folder / "small.npz") as arrays:
        x, y = arrays["x"], arrays["y"]
    np.save(folder / "small.npy", x)
    sizes = b"".join(n.to_bytes(4, "big") for n in x.shape)
    (folder / "small-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3]) + sizes + x.tobytes())
    rng = np.random.default_rng(1)
    rows = [f"{a:.3f},{b:.2f},{c}" for (a, b), c in zip(rng.normal(size=(60, 2)), y, strict=False)]
    (folder / "table.csv").write_text("a,b,label\n" + "\n".join(rows) + "\n")
    lines = ["file,label"]
    for i in range(12):
        name = f"{'cat' if i % 2 else 'dog'}/{i // 2}.png"
        (folder / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x[i]).save(folder / "pets" / name)
        lines.append(f"{name},{name[:3]}")
    (folder / "pets" / "labels.csv").write_text("\n".join(lines) + "\n")
    odd = folder / "odd"
    for name in ("$x^{$", "\\frac", "a\x1b[31mb", "caf\udce9", "n" * 200, "two words"):
        (odd / name).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(x[i]).save(odd / name / f"{i}.png")
    for name in ("$x^{$.npz", "a\x1b[31mb.npz", "caf\udce9.npz", "n" * 240 + ".npz"):
        shutil.copy(folder / "small.npz", folder / name)
    np.savez(folder / "one.npz", x=x[:1], y=y[:1])
    np.savez(folder / "nan.npz", x=np.full((20, 9), np.nan, np.float32))
    np.savez(folder / "same.npz", x=np.zeros((40, 9), np.float32), y=np.zeros(40, int))
    report = ROOT / "results" / "softmax" / "report.json"
    if report.exists():
        (folder / "results" / "softmax").mkdir(parents=True)
        shutil.copy(report, folder / "results" / "softmax")


def add_oddities(folder: Path) -> None:
    """Make FIFOs, devices, links and what must not be read or written, in a folder."""
    for name in ("fifo", "fifo.npz", "fifo.csv", "fifo.png", "fifo.safetensors"):
        os.mkfifo(folder / name)
    for name, minor in (("null", 3), ("zero.npy", 5), ("zero.csv", 5), ("zero.idx", 5)):
        try:
            os.mknod(folder / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        except OSError:  # devices of one's own need root
            os.mkfifo(folder / name)
    links = {
        "loop": "loop", "dangling": "nothing", "dangling.npy": "out/through.npy",
        "link_to_null": "null", "link_to_fifo.csv": "fifo", "link_to_file.npy": "file.npy",
        "link_to_secret.csv": "secret/x.csv",
    }  # fmt: skip
    for name, target in links.items():
        (folder / name).symlink_to(target)
    for ending in ("npz", "csv", "png", "safetensors"):
        (folder / f"empty.{ending}").touch()
    for ending in ("npz", "csv", "png", "safetensors", "pkl.gz"):
        (folder / f"text.{ending}").write_text("not what its name says\n")
    for name in ("file.txt", "file.npy"):
        (folder / name).write_text("a file\n")
    for name in ("empty", "secret", "readonly"):
        (folder / name).mkdir()
    with zipfile.ZipFile(folder / "secret.npz", "w"):
        pass
    (folder / "secret.npz").chmod(0)
    (folder / "secret").chmod(0)
    (folder / "readonly").chmod(0o555)
