"""Command lines of all commands, drawn from the settings themselves, good, bad and odd."""

import contextlib
import functools
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import numpy as np

from tests.fuzz import processes
from tests.fuzz.cases import Result, generator, one_of, stray, wording

__all__ = ["Flag", "drawn", "flags", "judged", "run"]

SECONDS = 10.0
"""The most that a refused command may take, of the processor's time."""
HANGS = 150.0
ENDLESS = ("epochs", "pretrain_epochs", "finetune_epochs", "cap")
"""Settings of which a huge value is right and takes for ever: it is not drawn."""
_INPUTS = ("data", "unlabelled", "run", "images", "from_run")
_OUTPUTS = ("run_dir", "output_dir", "out", "table")


class Flag(NamedTuple):
    """A flag of a command."""

    name: str
    """As in the settings."""
    hint: Any
    """Its type."""
    default: Any
    positional: bool = False

    @property
    def words(self) -> list[str]:
        """How it is typed."""
        return [] if self.positional else [f"--{self.name.replace('_', '-')}"]


class Line(NamedTuple):
    """A usual command line: small, and right."""

    command: str
    settings: Callable[[], Any]
    """The class of its settings."""
    given: dict[str, list[str]]
    """Values by the name of a setting."""
    first: tuple[str, ...] = ()


def _settings(module: str) -> Callable[[], Any]:
    def found() -> Any:
        from importlib import import_module

        return import_module(f"dae_jax.{module}").Settings

    return found


LINES = {
    "train": Line("train", _settings("settings.train"), {
        "data": ["small.npz"], "epochs": ["2"], "n_hidden": ["5"], "run_dir": ["out/r"],
        "output_dir": ["out/f"], "corruption": ["0.2"]}),
    "train table": Line("train", _settings("settings.train"), {
        "data": ["table.csv"], "epochs": ["2"], "n_hidden": ["5"], "run_dir": ["out/r"],
        "output_dir": ["out/f"]}),
    "pretrain": Line("pretrain", _settings("settings.pretrain"), {
        "preset": ["large-rate"], "data": ["small.npz"], "hidden": ["6", "4"],
        "pretrain_epochs": ["1"], "finetune_epochs": ["2"], "run_dir": ["out/r"]}),
    "pretrain --preset few-labels": Line("pretrain", _settings("settings.ladder"), {
        "preset": ["few-labels"], "data": ["small.npz"], "hidden": ["6"], "epochs": ["2"],
        "labels": ["30"], "run_dir": ["out/r"]}),
    "pretrain --compare": Line("pretrain", _settings("settings.pretrain"), {
        "preset": ["large-rate"], "compare": [], "data": ["small.npz"], "hidden": ["5"],
        "pretrain_epochs": ["1"], "labels": ["20"], "rates": ["0.1"], "adam_rates": ["0.01"],
        "arms": ["majority-class", "random"], "cap": ["1"], "run_dir": ["out/r"]}),
    "predict": Line("predict", _settings("predict"), {
        "run": ["runs/stack"], "images": ["small.npz"], "out": ["out/p.csv"]}),
    "transform": Line("transform", _settings("transform"), {
        "run": ["runs/da"], "images": ["small.npz"], "out": ["out/c.npy"]}),
    "export": Line("export", _settings("export"), {
        "run": ["runs/stack"], "to": ["stablehlo"], "out": ["out/m.bin"]}),
    "reproduce": Line("reproduce", _settings("reproduce"), {
        "output_dir": ["results"], "data": ["small.npz"], "epochs": ["1"], "seeds": ["1"]}),
    "list of commands": Line("", _settings("settings.train"), {
        "data": ["small.npz"], "epochs": ["1"], "n_hidden": ["3"], "run_dir": ["out/r"],
        "output_dir": ["out/f"]}, ("train",)),
}  # fmt: skip
"""The usual lines, by the kind of case."""

GOOD_INPUTS = (
    *("small.npz", "small.npy", "small-idx3-ubyte", "table.csv", "pets", "pets/labels.csv"),
    *("runs/stack", "runs/da", "runs/ladder", "runs/da/params.safetensors", "pets/cat/0.png"),
    *("runs/stack/model.safetensors", "runs/stack/layer_1.safetensors", "results", "digits"),
)
BAD_INPUTS = (
    *("fifo", "fifo.npz", "fifo.csv", "fifo.png", "fifo.safetensors", "null", "zero.npy"),
    *("zero.csv", "zero.idx", "/dev/null", "/dev/zero", "loop", "loop/x", "dangling", "empty"),
    *("empty.npz", "empty.csv", "empty.png", "empty.safetensors", "secret.npz", "secret", "$x^{$"),
    *("a\x1b[31mb.npz", "caf\udce9.npz", "n" * 240 + ".npz", "n" * 300, "no such", "", ".", "/"),
    *("mnist-smaple", "text.npz", "text.csv", "text.png", "text.pkl.gz", "text.safetensors"),
    *("one.npz", "nan.npz", "same.npz", "odd", "~", "-", "a\nb"),
)
GOOD_OUTPUTS = ("out/r", "out/f", "out/p.csv", "out/c.npy", "out/c.csv", "new/deep/er", "out/é b")
BAD_OUTPUTS = (
    *("fifo", "null", "zero.npy", "link_to_null", "link_to_fifo.csv", "loop", "dangling.npy", "-"),
    *("link_to_secret.csv", "readonly/x.csv", "readonly/r", "secret/x", "small.npz", "text.csv"),
    *("", ".", "/", "out", "n" * 240 + ".csv", "n" * 300, "\x1b[31m.csv", "caf\udce9.csv"),
    *("file.txt/x", "runs/da", "runs/stack", "pets", "a\nb.npy", "link_to_file.npy"),
)
BAD_WORDS = (
    *("", " ", "nan", "inf", "-inf", "1e400", "-1", "-0.0", "0", "1.5", "1e9", "1_0", "0x10"),
    *("True", "None", "none", "all", "x" * 300, "é", "\x1b[31mred\x1b[0m", "a\nb", "\udcff", "٣"),
    *("1" * 5000, "1,2", "[1]", "{}", "--", "-", "--help", "$(x)", "%s", "{0}", "\u202e"),
)
HUGE = ("1000000000", "1000000000000", "9" * 18, "9" * 30, "4294967295", "4294967296", "100000")


def run(seed: int, case: int, scratch: Path) -> Result:
    """Draw one command line, run it in a folder of its own, and judge what it left."""
    rng = generator(seed, "commands", case)
    kind = one_of(rng, [*list(LINES) * 2, *("train", "pretrain", "pretrain --preset few-labels")])
    argv = drawn(rng, LINES[kind])
    as_process = bool(rng.random() < 0.06)
    shown = " ".join(repr(word) if len(word) < 60 else f"'{word[:20]}...'" for word in argv)
    folder, streams = scratch / "here", scratch / "streams"
    streams.mkdir(parents=True, exist_ok=True)
    try:
        _furnished(folder, scratch)
        status, faults = judged(LINES[kind].command, argv, folder, streams, as_process=as_process)
    finally:
        _removed(folder)
    return Result(kind, tuple(faults), f"status {status}: {LINES[kind].command} {shown}")


# --- drawing --------------------------------------------------------------------------------------


@functools.cache
def flags(settings: Any) -> dict[str, Flag]:
    """All flags of a command, by name, taken from its dataclass of settings."""
    found: dict[str, Flag] = {}
    hints = get_type_hints(settings, include_extras=True)
    for part in fields(settings):
        plain = _plain(hints[part.name])
        if is_dataclass(plain):
            found |= flags(plain)
            continue
        marks = repr(getattr(hints[part.name], "__metadata__", ()))
        found[part.name] = Flag(part.name, plain, part.default, "Positional" in marks)
    return found


def _plain(hint: Any) -> Any:
    """A type without its annotations."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return hint


def drawn(rng: np.random.Generator, line: Line) -> list[str]:
    """The words of a command line: the usual one with up to five settings that are others."""
    known = flags(line.settings())
    given = {name: list(values) for name, values in line.given.items() if name in known}
    others = [flag for flag in known.values() if flag.name != "debug"]
    for _ in range(int(rng.choice([0, 1, 2, 3, 4, 5], p=[0.04, 0.32, 0.26, 0.18, 0.12, 0.08]))):
        flag = one_of(rng, others)
        given[flag.name] = _values(rng, flag, bad=rng.random() < 0.5)
    if "names" in given:  # no experiment is run: each takes minutes
        given["data"] = ["no such"]
    words: list[str] = []
    for name in rng.permutation(list(given)).tolist():
        words += _typed(rng, known[name], given[name])
    positional = [word for name in ("run", "images") for word in _positional(known, given, name)]
    at = 0 if rng.random() < 0.9 else len(words)
    words = [*line.first, *words[:at], *positional, *words[at:]]
    return _disturbed(rng, words)


def _positional(known: dict[str, Flag], given: dict[str, list[str]], name: str) -> list[str]:
    return given.get(name, []) if name in known and known[name].positional else []


def _typed(rng: np.random.Generator, flag: Flag, values: list[str]) -> list[str]:
    if flag.positional:
        return values if flag.name == "names" else []
    if flag.hint is bool and values == ["no"]:
        return [f"--no-{flag.name.replace('_', '-')}"]
    if len(values) == 1 and rng.random() < 0.1:
        return [f"{flag.words[0]}={values[0]}"]
    return [*flag.words, *values]


def _disturbed(rng: np.random.Generator, words: list[str]) -> list[str]:
    """The line, or now and then one with a word too many, too few, twice or misspelt."""
    i = int(rng.integers(len(words) + 1))
    match int(rng.integers(40)):
        case 0:
            return [*words[:i], *one_of(rng, [[word] for word in BAD_WORDS]), *words[i:]]
        case 1:
            return words[:i] + words[i + 1 :]
        case 2:
            return words + words[:i]
        case 5 if words:
            return [one_of(rng, ("", "trian", "predict", "x", "\x1b[31m", "--seed")), *words[1:]]
        case 3:
            return [word[:-1] if word.startswith("--") else word for word in words]
        case 4:
            return [*words[:i], one_of(rng, ("--help", "-h", "--version", "--untied")), *words[i:]]
    return words


def _values(rng: np.random.Generator, flag: Flag, *, bad: bool) -> list[str]:
    """The words of a value of this flag."""
    if flag.hint is bool:
        return [one_of(rng, BAD_WORDS)] if bad and rng.random() < 0.3 else one_of(rng, ([], ["no"]))
    if flag.name == "run" or flag.name == "images":
        return [one_of(rng, BAD_INPUTS if bad else GOOD_INPUTS)]
    values = _of_type(rng, flag.hint, flag)
    if not bad:
        return values
    if "str" in str(flag.hint) and rng.random() < 0.8:
        return _of_type(rng, flag.hint, flag, bad=True)
    words = BAD_WORDS if flag.name in ENDLESS else (*BAD_WORDS, *HUGE)
    if flag.name in ENDLESS:
        words = tuple(w for w in words if not re.fullmatch(r"1e9|1{9,}|0x10|1_0", w))
    place = int(rng.integers(len(values) + 1))
    return [*values[:place], one_of(rng, words), *values[place + int(rng.integers(2)) :]]


def _of_type(rng: np.random.Generator, hint: Any, flag: Flag, *, bad: bool = False) -> list[str]:
    """Words that tyro reads as this type; of small numbers."""
    hint, origin = _plain(hint), get_origin(_plain(hint))
    if origin in (Union, UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not NoneType]
        return _of_type(rng, one_of(rng, kinds), flag, bad=bad)
    if origin is Literal:
        return [str(one_of(rng, get_args(hint)))]
    if origin is tuple:
        kinds = get_args(hint)
        if len(kinds) == 2 and kinds[1] is Ellipsis:
            kinds = kinds[:1] * int(rng.integers(1, 4))
        return [word for kind in kinds for word in _of_type(rng, kind, flag, bad=bad)]
    if hint is int:
        return [str(int(rng.integers(1, 5)))]
    if hint is float:
        return [one_of(rng, ("0.1", "0.5", "0.3", "1", "0.01", "2"))]
    if flag.name in _INPUTS:
        return [one_of(rng, BAD_INPUTS if bad else GOOD_INPUTS)]
    if flag.name in _OUTPUTS:
        return [one_of(rng, BAD_OUTPUTS if bad else GOOD_OUTPUTS)]
    good = ("label", "a", "sgd", "adam", "adagrad", "softmax", "small", "lion")
    return [one_of(rng, BAD_WORDS if bad else good)]


# --- the folder that a command finds --------------------------------------------------------------


def _furnished(folder: Path, scratch: Path) -> None:
    """Make a folder with data, runs, and everything odd that a path can lead to."""
    from tests.fuzz import furniture

    _removed(folder)
    shutil.copytree(furniture.stock(scratch.parent), folder, symlinks=True)
    furniture.add_oddities(folder)


def _removed(folder: Path) -> None:
    for path in (folder / "secret", folder / "readonly"):
        with contextlib.suppress(OSError):
            path.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)


def _things(folder: Path) -> dict[str, tuple[int, int, int]]:
    """The kind, size and time of everything below a folder, by name."""
    found = {}
    for home, folders, names in os.walk(folder):
        for name in (*folders, *names):
            seen = os.lstat(os.path.join(home, name))
            kind = stat.S_IFMT(seen.st_mode)
            regular = kind == stat.S_IFREG
            path = os.path.relpath(os.path.join(home, name), folder)
            found[path] = (kind, seen.st_size * regular, seen.st_mtime_ns * regular)
    return found


# --- judging --------------------------------------------------------------------------------------


def judged(
    command: str, argv: Sequence[str], folder: Path, streams: Path, *, as_process: bool = False
) -> tuple[int, list[str]]:
    """Run a command line in a folder; return its status, and what did not hold."""
    before = _things(folder)
    if as_process and not any("\0" in word for word in argv):
        start = time.monotonic()
        process = processes.started(command, argv, folder, streams, before=processes.without_root)
        end = processes.ended(process, start, HANGS, streams)
    else:
        _warm()
        end = processes.forked(command, argv, folder, HANGS, streams)
    after = _things(folder)
    return end.status, _faults(command, argv, end, before, after)


@functools.cache
def _warm() -> None:
    processes.import_everything()


def _faults(
    command: str,
    argv: Sequence[str],
    end: processes.Ended,
    before: dict[str, tuple[int, int, int]],
    after: dict[str, tuple[int, int, int]],
) -> list[str]:
    if end.hung:
        return [f"did not end in {HANGS:.0f} s; printed {end.out[-80:]!r} {end.err[-80:]!r}"]
    faults = stray(end.err)
    allowed = {0, 2, 3, 130, 141} | ({1} if command == "reproduce" and "--check" in argv else set())
    if end.status not in allowed and not faults:
        faults.append(f"status {end.status}: {end.err[-160:].strip()!r}")
    if "\x1b" in end.out:
        faults.append("an escape sequence on stdout")
    if "Traceback" in end.out:
        faults.append("a traceback on stdout")
    faults += [
        f"{_SPECIAL[kind]} {name!r} is {_SPECIAL.get(after.get(name, (0,))[0], 'something else')}"
        for name, (kind, _, _) in before.items()
        if kind in _SPECIAL and after.get(name, (0,))[0] != kind
    ]
    if end.status == 2:
        faults += _of_refusal(end, before, after) if not faults else []
    return faults


_SPECIAL = {
    stat.S_IFIFO: "the FIFO",
    stat.S_IFCHR: "the device",
    stat.S_IFLNK: "the link",
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
}


def _of_refusal(
    end: processes.Ended,
    before: dict[str, tuple[int, int, int]],
    after: dict[str, tuple[int, int, int]],
) -> list[str]:
    """What does not hold after status 2."""
    message = end.err.removesuffix("\n")
    trained = any(name.endswith("metrics.jsonl") for name in set(after) - set(before))
    faults = wording(message) if message.startswith("error: ") else ["no line 'error: ...'"]
    if message.count("\n"):
        faults.append(f"beside the error: {message[:160]!r}")
    if end.busy > SECONDS and not trained:
        faults.append(f"refused after {end.busy:.0f} s of the processor")
    left = sorted(set(after) - set(before))
    changed = sorted(name for name in before if after.get(name) != before[name])
    if not trained and (left or changed):
        faults.append(f"refused, and left or changed {', '.join([*left, *changed][:3])}")
    return faults
