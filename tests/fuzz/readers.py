"""Mutated files for every reader of the package."""

import functools
import gzip
import io
import json
import pickle
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from tests.fuzz import bounds, mutations
from tests.fuzz.cases import Result, generator, one_of, wording

__all__ = ["Document", "documents", "judged", "mutated", "run"]

ROOT = Path(__file__).parents[2]


class Document(NamedTuple):
    """A valid file, how it is mutated, and how it is read."""

    name: str
    """Of the file; with the folders that it is in."""
    content: bytes
    read: Callable[[Path], Any]
    """Reads the file at that path; returns what must not change, if it is `exact`."""
    others: Mapping[str, bytes] = MappingProxyType({})
    """Files beside it, by name."""
    layers: tuple[tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]], ...] = ()
    """Pairs that open the file and close it again, so that what is inside can be mutated."""
    record: Callable[[bytes], Any] | None = None
    """Reads the JSON in the file, if there is some to be mutated value by value."""
    recorded: Callable[[bytes, str], bytes] | None = None
    """Puts other JSON text into the file."""
    exact: bool = False
    """Whether it has a checksum: it is refused, or holds what it held."""
    weight: int = 4
    """How often it comes."""


def run(seed: int, case: int, scratch: Path) -> Result:
    """Mutate one file, and read it."""
    rng = generator(seed, "readers", case)
    everything = documents()
    kinds = [kind for kind, document in everything.items() for _ in range(document.weight)]
    kind = one_of(rng, kinds)
    content, how = mutated(rng, everything[kind])
    result = judged(kind, everything[kind], content, scratch, signed=how != "signed")
    kind = kind.split(" file ")[0]
    return result._replace(kind=kind, about=f"{kind}, {how}, {len(content):,} bytes")


def mutated(rng: np.random.Generator, document: Document) -> tuple[bytes, str]:
    """A mutated content, and how it was mutated, in words."""
    if document.record is not None and document.recorded is not None and rng.random() < 0.6:
        text = mutations.mutated_json(rng, document.record(document.content))
        return document.recorded(document.content, text), "values" if not document.exact else "card"
    changes = mutations.edits(rng)
    if document.layers and rng.random() < 0.7:
        open_, close = one_of(rng, document.layers)
        return close(mutations.apply(open_(document.content), changes)), "inside"
    return mutations.apply(document.content, changes), "bytes"


def judged(
    kind: str, document: Document, content: bytes, scratch: Path, *, signed: bool = True
) -> Result:
    """Read the document with another content; say what did not hold.

    Args:
        kind: Its name in the table.
        document: The document.
        content: Instead of its own.
        scratch: A folder for files.
        signed: Whether a checksum, if it has one, was left alone.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = _write(document, content, Path(folder))
        faults: list[str] = []
        value: Any = None
        read = refused = False
        with bounds.watched() as seen, bounds.bounded(4 * bounds.GIB):
            try:
                value, read = document.read(path), True
            except BaseException as error:
                refused = type(error).__name__ == "InputError"
                faults = wording(str(error)) if refused else [_in_words(error)]
                if refused and isinstance(error.__cause__, MemoryError):
                    faults.append("ran out of 4 GiB of memory")
        faults += seen.faults()
        if seen.err and not read:
            faults.append(f"beside the error: {seen.err[:200]}")
        sure = read and document.exact and signed and "verif" not in seen.err
        if sure and not _equal(value, _original(kind, document)):
            faults.append("another content was accepted")
    return Result(kind, tuple(faults))


def _in_words(error: BaseException) -> str:
    """An exception and the deepest line of the package in its traceback."""
    where, trace = "", error.__traceback__
    while trace is not None:
        if "dae_jax" in trace.tb_frame.f_code.co_filename:
            where = (
                f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_frame.f_code.co_name}"
            )
        trace = trace.tb_next
    return f"{type(error).__name__} in {where}: {' '.join(str(error)[:160].split())}"


def _write(document: Document, content: bytes, folder: Path) -> Path:
    for name, other in {**document.others, document.name: content}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(other)
    return folder / document.name


@functools.cache
def _original_by_kind(kind: str) -> Any:
    document = documents()[kind]
    with tempfile.TemporaryDirectory() as folder:
        return document.read(_write(document, document.content, Path(folder)))


def _original(kind: str, document: Document) -> Any:
    assert documents()[kind] is document
    return _original_by_kind(kind)


def _equal(value: Any, original: Any) -> bool:
    """Whether two values are the same; a list, such as rows of metrics, may have lost its end."""
    if isinstance(original, list):
        return value == original[: len(value)]
    return value == original


# --- the documents --------------------------------------------------------------------------------


@functools.cache
def documents() -> dict[str, Document]:
    """All documents by kind, each of which can be read."""
    found = {
        **_arrays(),
        **_images(),
        **_tables(),
        **_models(),
        **_records(),
        **_of_a_training(),
    }
    return found


def _small() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (12, 4, 4), np.uint8), np.arange(12) % 3


def _load(path: Path) -> Any:
    from dae_jax import datasets

    return datasets.load(str(path))


def _load_left(path: Path) -> Any:
    """Images that stay in their file, which have to be those that are read into memory."""
    from dae_jax import datasets

    left = datasets.load(str(path), leave=0).in_memory()
    for a, b in zip(left.parts, datasets.load(str(path)).parts, strict=True):
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.labels, b.labels)
    return left


def _load_parent(path: Path) -> Any:
    return _load(path.parent)


def _load_parent_left(path: Path) -> Any:
    return _load_left(path.parent)


def _load_grandparent(path: Path) -> Any:
    return _load(path.parent.parent)


def _load_resized(path: Path) -> Any:
    from dae_jax import datasets

    return datasets.load(str(path.parent.parent), image_size=(3, 5), grey=True)


def _idx(array: np.ndarray) -> bytes:
    codes = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    values = array.astype(array.dtype.newbyteorder(">")).tobytes()
    return bytes([0, 0, codes[array.dtype.str[1:]], array.ndim]) + sizes + values


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _zip(members: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, how)
    return file.getvalue()


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, 1, mtime=0)


def _arrays() -> dict[str, Document]:
    x, y = _small()
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
    idx = {name: _idx(array) for name, array in zip(names, (x, y.astype(np.uint8)), strict=True)}
    gz = (gzip.decompress, _gzip)
    pairs = [(x[:8].reshape(8, -1) / np.float32(255), y[:8])] + [
        (x[8:].reshape(4, -1) / np.float32(255), y[8:])
    ] * 2
    pickled = pickle.dumps(tuple(pairs), protocol=2)
    arrays = {"x.npy": _npy(x), "y.npy": _npy(y)}
    stored = _zip(arrays, zipfile.ZIP_STORED)

    def zipped(name: str) -> Any:
        def close(content: bytes) -> bytes:
            return _zip(arrays | {name: content})

        return (lambda _: arrays[name]), close

    in_zip = (zipped("x.npy"), zipped("y.npy"))
    text = _npy(np.array([b"cat", b"dog", b"cat"] * 4))
    return {
        "idx": Document("own.idx", idx[names[0]], _load),
        "idx.gz": Document("own.idx.gz", _gzip(idx[names[0]]), _load, layers=(gz,)),
        "idx folder": Document(f"set/{names[1]}", idx[names[1]], _load_parent,
                               {f"set/{names[0]}": idx[names[0]]}),
        "npy": Document("own.npy", arrays["x.npy"], _load),
        "npy floats": Document("own.npy", _npy(x / np.float64(7)), _load),
        "idx, left": Document("own.idx", idx[names[0]], _load_left),
        "npy, left": Document("own.npy", arrays["x.npy"], _load_left),
        "npz, left": Document("own.npz", stored, _load_left),
        "shards, left": Document("set/x_2.npy", arrays["x.npy"], _load_parent_left,
                                 {"set/x_1.npy": arrays["x.npy"], "set/y_1.npy": arrays["y.npy"],
                                  "set/y_2.npy": arrays["y.npy"]}),
        "npz": Document("own.npz", _zip(arrays), _load, layers=in_zip),
        "npz stored": Document("own.npz", stored, _load),
        "npz text labels": Document("own.npz", _zip(arrays | {"y.npy": text}), _load,
                                    layers=((lambda _: text, in_zip[1][1]),)),
        "pickle": Document("own.pkl", pickled, _load),
        "pickle.gz": Document("own.pkl.gz", _gzip(pickled), _load, layers=(gz,)),
    }  # fmt: skip


def _pictures(format_: str, **how: Any) -> list[bytes]:
    from PIL import Image

    rng, contents = np.random.default_rng(1), []
    for _ in range(4):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (6, 5), np.uint8)).save(file, format_, **how)
        contents.append(file.getvalue())
    return contents


def _png_chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], 8
    while at + 12 <= len(content):
        n = int.from_bytes(content[at : at + 4], "big")
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + n]))
        at += 12 + n
    return chunks


def _png(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, data in chunks:
        checksum = zlib.crc32(name + data)
        parts += [len(data).to_bytes(4, "big"), name, data, checksum.to_bytes(4, "big")]
    return b"".join(parts)


def _png_part(content: bytes, part: bytes) -> Any:
    """Open and close one chunk of a PNG file, whose checksum is made anew."""

    def open_(_: bytes) -> bytes:
        return next(data for name, data in _png_chunks(content) if name == part)

    def close(data: bytes) -> bytes:
        return _png([(name, data if name == part else old) for name, old in _png_chunks(content)])

    return open_, close


def _images() -> dict[str, Document]:
    kinds: dict[str, tuple[str, str, dict[str, Any]]] = {
        "png": ("PNG", "png", {}),
        "jpeg": ("JPEG", "jpg", {}),
        "gif": ("GIF", "gif", {}),
        "tiff": ("TIFF", "tif", {}),
        "tiff lzw": ("TIFF", "tif", {"compression": "tiff_lzw"}),
        "bmp": ("BMP", "bmp", {}),
    }
    found = {}
    for kind, (format_, ending, how) in kinds.items():
        first, *rest = _pictures(format_, **how)
        others = {f"set/{'ab'[i % 2]}/{i}.{ending}": other for i, other in enumerate(rest)}
        layers = (
            tuple(_png_part(first, part) for part in (b"IHDR", b"IDAT")) if kind == "png" else ()
        )
        read = _load_resized if kind in ("tiff lzw", "gif") else _load_grandparent
        name = f"set/a/first.{ending}"
        found[kind] = Document(name, first, read, others, layers)
    return found


def _tables() -> dict[str, Document]:
    rng = np.random.default_rng(2)
    rows = [f"{a:.3f},{b},{'xyz'[i % 3]}" for i, (a, b) in enumerate(rng.random((12, 2)))]
    table = ("height,width,label\n" + "\n".join(rows) + "\n").encode()
    pictures = {f"set/{i}.png": content for i, content in enumerate(_pictures("PNG"))}
    listed = ("file,label\n" + "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(4))).encode()
    found = {
        "csv table": Document("own.csv", table, _load),
        "csv numbers": Document("own.csv", b"1,2,3\n4,5,6\n7,8,9\n" * 4, _load),
        "csv labels": Document("set/labels.csv", listed, _load, pictures),
    }
    try:
        import pandas
    except ImportError:
        return found
    frame = pandas.DataFrame({"a": rng.random(12), "b": rng.random(12), "label": [0, 1, 2] * 4})
    file = io.BytesIO()
    frame.to_parquet(file)
    return found | {"parquet": Document("own.parquet", file.getvalue(), _load)}


def _models() -> dict[str, Document]:
    from dae_jax.autoencoder import Params
    from dae_jax.runs import cards, saved
    from dae_jax.stacked import Classifier, Layer

    rng = np.random.default_rng(3)

    def drawn(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    values: dict[str, Any] = {
        "dae_jax": "0.1.0", "data": "elsewhere", "image_shape": (2, 2), "pixels": 4,
        "integer_pixels": False, "range": (0.0, 1.0), "pixel_scale": 255.0,
        "config": {"data": {"data": "elsewhere"}}, "seed": 1,
    }  # fmt: skip
    stack = Classifier(
        (Layer(drawn(4, 3), drawn(3)), Layer(drawn(3, 2), drawn(2))), Layer(drawn(2, 2), drawn(2))
    )
    da = Params(drawn(4, 3), drawn(3), drawn(4))
    denoising = {
        "corruption": 0.3, "noise": "masking", "cost": "cross-entropy", "decoder": "sigmoid"
    }  # fmt: skip
    models = {
        "model classifier": (
            stack, cards.Card(kind="classifier", class_names=("a", "b"), **values)
        ),
        "model dA": (
            da,
            cards.Card(kind="autoencoder", class_names=None, denoising=denoising, **values),
        ),
    }  # fmt: skip
    found = {}
    for kind, (params, card) in models.items():
        with tempfile.TemporaryDirectory() as folder:
            content = saved.save(Path(folder, "m.safetensors"), params, card).read_bytes()
        found[kind] = Document(
            "m.safetensors", content, _read_model, record=_header, recorded=_with_header,
            exact=True, weight=10,
        )  # fmt: skip
        found[f"{kind} signed"] = Document(
            "m.safetensors", content, _use_model, record=_card, recorded=_with_card, weight=10,
        )  # fmt: skip
    layer = Document("layer_1.safetensors", found["model dA"].content, _read_layer, exact=True)
    return found | {"layer": layer}


def _read_model(path: Path) -> Any:
    from dae_jax.runs import saved

    model = saved.load(path)
    tensors = saved.named_tensors(model.params)
    return {name: np.asarray(a).tobytes() for name, a in tensors.items()}, json.dumps(
        model.card.to_json()
    )


def _read_layer(path: Path) -> Any:
    from dae_jax.runs import saved

    return {name: np.asarray(a).tobytes() for name, a in saved.load_layer(path)._asdict().items()}


def _use_model(path: Path) -> Any:
    """Read a model whose card is well signed and may say anything, and apply it."""
    from dae_jax.runs import saved

    model = saved.load(path)
    card, x = model.card, np.full((2, 4), 0.5, np.float32)
    model.encode(x)
    if card.kind == "classifier":
        assert model.predict(x).shape == (2,)
    else:
        assert model.reconstruct(x).shape == (2, 4) and model.anomaly_scores(x).shape == (2,)
    return repr(model)


def _header_bytes(content: bytes) -> tuple[bytes, bytes]:
    n = int.from_bytes(content[:8], "little")
    return content[8 : 8 + n], content[8 + n :]


def _header(content: bytes) -> Any:
    return json.loads(_header_bytes(content)[0])


def _with_header(content: bytes, text: str) -> bytes:
    header = text.encode("utf-8", "surrogatepass")
    return len(header).to_bytes(8, "little") + header + _header_bytes(content)[1]


def _card(content: bytes) -> Any:
    return json.loads(_header(content)["__metadata__"]["dae_jax"])


def _with_card(content: bytes, text: str) -> bytes:
    """The file with another card, whose checksum is right where the card is a dictionary."""
    from dae_jax.runs import saved

    try:
        value = json.loads(text)
        text = json.dumps(saved.signed(value)) if isinstance(value, dict) else text
    except (RecursionError, ValueError):
        pass
    header = _header(content)
    header["__metadata__"]["dae_jax"] = text
    return _with_header(content, json.dumps(header))


def _as_it_is(_: bytes, text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _records() -> dict[str, Document]:
    from dae_jax.settings import ladder, pretrain, shared, train

    settings = {
        "train": train.Settings().resolved("small", 100),
        "pretrain": pretrain.Settings().resolved("small", 100),
        "ladder": ladder.Settings().resolved("small", 100),
    }
    found = {}
    for name, values in settings.items():
        text = json.dumps(shared.to_json(values), indent=2) + "\n"
        read = functools.partial(_read_config, type(values))
        found[f"config.json {name}"] = Document(
            "r/config.json", text.encode(), read, record=json.loads, recorded=_as_it_is, weight=8
        )
    report = ROOT / "results" / "softmax" / "report.json"
    if report.exists():
        found["report.json"] = Document(
            "results/softmax/report.json", report.read_bytes(), _read_report,
            record=json.loads, recorded=_as_it_is, weight=8,
        )  # fmt: skip
    return found


def _read_config(kind: type[Any], path: Path) -> Any:
    """Read the settings of a run as --resume, --from-run and the readers of models do."""
    from beartype.door import is_bearable

    from dae_jax.runs.run import read_settings
    from dae_jax.settings import from_run, pretrain, shared

    settings = read_settings(path.parent)
    wrong = [] if settings is None else kind_of_values(settings, is_bearable)
    assert not wrong, f"read_settings accepted {wrong[:2]}"
    flags = ["--resume", "--run-dir", str(path.parent)]
    requested = shared.parse(kind, flags)
    resumed = shared.resumed(requested, flags, may_grow="epochs")
    wrong = kind_of_values(resumed, is_bearable)
    assert not wrong, f"--resume accepted {wrong[:2]}"
    resumed.check()
    if kind is pretrain.Settings:
        from_run.read(path.parent)
    return None


def kind_of_values(settings: Any, is_bearable: Callable[[Any, Any], bool]) -> list[str]:
    """The settings whose values are not of their types."""
    from dataclasses import fields, is_dataclass
    from typing import get_type_hints

    wrong, hints = [], get_type_hints(type(settings))
    for part in fields(settings):
        value, hint = getattr(settings, part.name), hints[part.name]
        if is_dataclass(value):
            wrong += kind_of_values(value, is_bearable)
        elif not is_bearable(value, hint) and not _whole_float(value, hint):
            wrong.append(f"{part.name}={str(value)[:40]}")
    return wrong


def _whole_float(value: Any, hint: Any) -> bool:
    """Whether whole numbers stand for floats, as JSON has them."""
    values = value if isinstance(value, tuple) else (value,)
    return "float" in str(hint) and all(type(one) in (int, float) for one in values)


def _read_report(path: Path) -> Any:
    import contextlib

    from dae_jax.experiments import pages, reports
    from dae_jax.experiments.catalogue import EXPERIMENTS

    folder = path.parent.parent
    page = folder / "results.md"
    page.write_text((ROOT / "docs" / "results.md").read_text())
    with contextlib.redirect_stdout(io.StringIO()):
        reports.check(EXPERIMENTS, folder)
        reports.show(EXPERIMENTS, folder)
        pages.put_tables(page, reports.tables(EXPERIMENTS, folder))
    return None


def _of_a_training() -> dict[str, Document]:
    from dae_jax.runs.checkpoints import Checkpoints, Metrics

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "metrics.jsonl")
        metrics = Metrics(path)
        for epoch in range(1, 7):
            metrics.append({"epoch": epoch, "cost": 100 / epoch, "costs": [1.5, 2.0], "seconds": 1})
        rows = path.read_bytes()
        with Checkpoints(Path(folder, "checkpoints"), every=0) as checkpoints:
            for epoch in (1, 2):
                checkpoints.save(epoch, _state(epoch), now=True)
        files = {
            str(file.relative_to(folder)): file.read_bytes()
            for file in sorted(Path(folder, "checkpoints").rglob("*"))
            if file.is_file()
        }
    found = {"metrics.jsonl": Document("metrics.jsonl", rows, _read_metrics, exact=True, weight=10)}
    for i, (name, content) in enumerate(files.items()):
        others = {other: text for other, text in files.items() if other != name}
        found[f"checkpoint file {i}"] = Document(
            name,
            content,
            _read_checkpoint,
            others,
            exact=True,
            weight=1 + 2 * name.startswith("checkpoints/2/default/ocdbt"),
        )
    return found


def _state(epoch: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(epoch)
    return {"W": rng.normal(size=(64, 33)).astype(np.float32), "b": np.full(33, epoch, np.float32)}


def _read_metrics(path: Path) -> list[Any]:
    from dae_jax.runs.checkpoints import Metrics

    return Metrics(path, up_to_epoch=6).rows


def _read_checkpoint(path: Path) -> Any:
    """Restore the newest intact of two checkpoints, one of whose files was mutated."""
    from dae_jax.runs.checkpoints import Checkpoints

    folder = next(parent for parent in path.parents if parent.name == "checkpoints")
    like = {name: np.zeros_like(array) for name, array in _state(1).items()}
    with Checkpoints(folder) as checkpoints:
        found = checkpoints.restore(like)
    shutil.rmtree(folder)
    if found is None:  # not found any more: the training starts again, to the same end
        return "intact"
    epoch, state = found
    right = {name: array.tobytes() for name, array in _state(epoch).items()}
    restored = {name: np.asarray(array).tobytes() for name, array in state.items()}
    return "intact" if right == restored else "damaged"
