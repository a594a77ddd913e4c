"""`predict` and `transform`, as a user meets them: against NumPy in float64, and with bad input."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from dae_jax import console as command
from dae_jax import predict, pretrain, train, transform
from dae_jax.autoencoder import UntiedParams
from dae_jax.datasets import image_folder as images
from dae_jax.runs import checkpoints, new_images
from dae_jax.runs import stack_report as stacked_report
from dae_jax.stacked import Classifier, Layer

SMALL = ("--hidden", "12", "8", "--pretrain-epochs", "1", "--finetune-epochs", "2")
SMALL += ("--corruption", "0.1")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two stacks and a dA, trained once, with the data they learnt from."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.chdir(folder)
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 3, 100)
        x = rng.integers(0, 256, (100, 8, 6), np.uint8)
        x[np.arange(100), labels] = 255
        np.savez("own.npz", x_train=x[:70], y_train=labels[:70], x_test=x[70:], y_test=labels[70:])
        for i, name in enumerate(["cat", "dog, wet"] * 20):
            picture(Path("pets", name, f"{i}.png"), rng.integers(0, 128, (4, 5)) + 127 * (i % 2))
        patch.setattr(stacked_report, "draw", lambda *_: [])  # pictures take most of the time
        for main, data, run, *flags in (
            (pretrain.main, "own.npz", "stack", *SMALL),
            (pretrain.main, "pets", "pets_run", *SMALL),
            (train.main, "own.npz", "da", "--n-hidden", "7", "--epochs", "1"),
        ):
            assert command.run(main, ["--data", data, "--run-dir", run, *flags]) == 0
    return folder


@pytest.fixture
def here(runs, tmp_path, monkeypatch):
    """An empty working directory with links to what was trained."""
    for path in runs.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(here, capfd):
    """Call a command in this process: status, what it printed, what it complained of."""

    def call(main, *argv):
        capfd.readouterr()
        status = command.run(main, [str(word) for word in argv])
        return status, *capfd.readouterr()

    return call


def picture(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def numpy_codes(run: str, x: np.ndarray, n_layers: int = 2) -> np.ndarray:
    tensors = load_file(Path(run, "model.safetensors"))
    y = x.reshape(len(x), -1) / 255
    for k in range(n_layers):
        W, b = (tensors[f"hidden.{k}.{name}"].astype(np.float64) for name in "Wb")
        y = sigmoid(y @ W + b)
    return y


def numpy_probabilities(run: str, x: np.ndarray) -> np.ndarray:
    tensors = load_file(Path(run, "model.safetensors"))
    W, b = (tensors[f"top.{name}"].astype(np.float64) for name in "Wb")
    e = np.exp(numpy_codes(run, x) @ W + b)
    return e / e.sum(axis=1, keepdims=True)


def own(part: str) -> np.ndarray:
    with np.load("own.npz") as arrays:
        return arrays[part]


def table(text: str | None = None) -> tuple[list[str], list[list[str]]]:
    text = Path("predictions.csv").read_text() if text is None else text
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    return header, rows


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.is_symlink()}


def save_model(path: Path, n_pixels: int, about: dict[str, Any]) -> None:
    """A classifier of random weights and whatever its file says of it."""
    rng = np.random.default_rng(1)
    W, V = rng.normal(size=(n_pixels, 5)), rng.normal(size=(5, len(about["class_names"])))
    layers = [Layer(w.astype(np.float32), np.zeros(w.shape[1], np.float32)) for w in (W, V)]
    checkpoints.save_classifier(path, Classifier((layers[0],), layers[1]), about)


FLOATS = {
    "image_shape": [2, 2],
    "integer_pixels": False,
    "range": [0, 1],
    "pixel_scale": 255,
    "class_names": ["a", "b"],
    "config": {"data": {"data": "elsewhere"}},
}
COLOUR = FLOATS | {"image_shape": [4, 5, 3], "integer_pixels": True, "range": [9, 200]}


def sweep() -> None:
    """A sweep's run directory, with untied members."""
    rng = np.random.default_rng(2)
    for level in (0, 30):
        W, W_prime = rng.normal(size=(2, 48, 7)).astype(np.float32)
        params = UntiedParams(W, W[0], W[:, 0], W_prime.T)
        checkpoints.save_params(Path(f"sweep/corruption_{level}/params.safetensors"), params)
    shutil.copy("da/config.json", "sweep")


# ---- what comes out -------------------------------------------------------------------------


def test_the_own_test_set_gets_the_networks_probabilities_and_the_runs_test_error(call):
    status, out, err = call(predict.main, "stack", "own.npz")
    assert (status, err) == (0, "")
    header, rows = table()
    assert header == ["image", "class", "probability", "p_0", "p_1", "p_2"]
    assert [row[0] for row in rows] == [str(i) for i in range(30)]
    said = np.array([[float(p) for p in row[3:]] for row in rows])
    # float32 sums of 48 terms, and six digits: both are within 1e-6 of the value, relative
    np.testing.assert_allclose(said, numpy_probabilities("stack", own("x_test")), rtol=5e-6)
    assert [row[1] for row in rows] == [str(i) for i in said.argmax(axis=1)]
    assert [row[2] for row in rows] == [max(row[3:], key=float) for row in rows]
    wrong = np.mean(said.argmax(axis=1) != own("y_test"))
    assert wrong == json.loads(Path("stack/results.json").read_text())["test_error"]
    assert out == f"predictions.csv  error {100 * wrong:.2f} % of 30 labelled images\n"


@pytest.mark.parametrize("part", ["train", "all"])
def test_all_images_come_in_the_order_of_the_source(call, part):
    status, out, _ = call(predict.main, "stack", "own.npz", "--part", part)
    assert status == 0 and out.endswith("labelled images; the model was trained on some of them\n")
    x = own("x_train")
    x = np.concatenate([x, own("x_test")]) if part == "all" else x
    said = np.array([row[3:] for row in table()[1]], float)
    np.testing.assert_allclose(said, numpy_probabilities("stack", x), rtol=5e-6)


def test_images_without_parts_or_labels_are_all_predicted_and_counted(call):
    np.save("some.npy", own("x_train"))
    status, out, _ = call(predict.main, "stack/model.safetensors", "some.npy", "--out", "a/b.csv")
    assert status == 0
    _, rows = table(Path("a/b.csv").read_text())
    assert len(rows) == 70
    counts = {name: sum(row[1] == name for row in rows) for name in "012"}
    told = [f"{k} {n}" for k, n in sorted(counts.items(), key=lambda kn: -kn[1]) if n]
    assert out == f"a/b.csv  70 images: {', '.join(told)}\n"


def test_a_pickle_keeps_its_parts(call):
    import pickle

    x, y = own("x_train").reshape(70, -1), own("y_train")
    parts = (x[:40], y[:40]), (x[40:50], y[40:50]), (x[50:], y[50:])
    Path("tutorial.pkl").write_bytes(pickle.dumps(parts))
    about = FLOATS | {"image_shape": None, "integer_pixels": True}
    save_model(Path("m.safetensors"), 48, about)
    for part, n in (("test", 20), ("valid", 10), ("all", 70)):
        flags = [] if part == "test" else ["--part", part]
        assert call(predict.main, "m.safetensors", "tutorial.pkl", *flags)[0] == 0
        assert len(table()[1]) == n


def test_dash_prints_the_table_and_nothing_else(call, here):
    call(predict.main, "stack", "own.npz")
    status, out, err = call(predict.main, "stack", "own.npz", "--out", "-")
    assert status == 0 and out == Path("predictions.csv").read_text()
    assert err.startswith("error ") and err.count("\n") == 1
    assert written(here) == {"predictions.csv"}


def test_chunks_make_no_difference(call, monkeypatch):
    call(predict.main, "stack", "own.npz")
    whole = np.array([row[3:] for row in table()[1]], float)
    monkeypatch.setattr(new_images, "CHUNK", 7)
    call(predict.main, "stack", "own.npz")
    # another number of rows may be summed in another order
    np.testing.assert_allclose(np.array([row[3:] for row in table()[1]], float), whole, rtol=5e-6)


def test_files_are_named_in_natural_order_resized_and_compared_by_the_names_of_classes(call):
    rng = np.random.default_rng(3)
    small = rng.integers(0, 256, (12, 4, 5))
    names = [
        *(f"ant/{i}.png" for i in range(3)),
        *(f"cat/{i}.png" for i in (1, 2, 10)),
        *(f"dog, wet/a{i}.png" for i in (2, 10, 11, 12, 13, 14)),
    ]
    for name, values in zip(names, small, strict=True):
        # each pixel three times in either direction: the mean over the area is the pixel again
        picture(Path("new", name), values.repeat(3, 0).repeat(3, 1))
    status, out, _ = call(predict.main, "pets_run", "new")
    assert status == 0
    header, rows = table()
    assert header[3:] == ["p_cat", "p_dog, wet"]
    assert [row[0] for row in rows] == names == images.image_names("new")
    said = np.array([row[3:] for row in rows], float)
    np.testing.assert_allclose(said, numpy_probabilities("pets_run", small), rtol=5e-6)
    wrong = [row[1] != row[0].split("/")[0] for row in rows[3:]]
    told = f"error {100 * np.mean(wrong):.2f} % of 9 labelled images"
    unknown = "3 of classes that the model does not know (ant)"
    assert out == f"predictions.csv  {told}; {unknown}\n"


def test_only_unknown_classes_are_counted_as_if_without_labels(call):
    picture(Path("new/ant/1.png"), np.zeros((4, 5)))
    _, out, _ = call(predict.main, "pets_run", "new")
    assert "1 images: " in out and "does not know (ant)" in out and "error" not in out


def test_a_single_image_is_a_folder_of_one(call, here):
    values = np.random.default_rng(3).integers(0, 256, (4, 5))
    picture(Path("new/one.PNG"), values)
    assert call(predict.main, "pets_run", here / "new" / "one.PNG")[0] == 0
    ((name, *_, p, q),) = table()[1]
    assert name == "one.PNG"
    expected = numpy_probabilities("pets_run", values[None])
    np.testing.assert_allclose([[float(p), float(q)]], expected, rtol=5e-6)


@pytest.mark.parametrize(("argv", "layer"), [(["--layer", "1"], 1), (["--layer", "2"], 2), ([], 2)])
def test_codes_are_those_of_the_layer(call, argv, layer):
    status, out, err = call(transform.main, "stack", "own.npz", "--part", "all", *argv)
    assert (status, err) == (0, "")
    codes = np.load("codes.npy", allow_pickle=False)
    assert codes.dtype == np.float32
    x = np.concatenate([own("x_train"), own("x_test")])
    np.testing.assert_allclose(codes, numpy_codes("stack", x, layer), rtol=5e-6)
    assert out == f"codes.npy  100 images, {codes.shape[1]} units of layer {layer}\n"


@pytest.mark.parametrize("run", ["da", "da/params.safetensors", "sweep/corruption_30"])
def test_codes_of_a_single_da_tied_or_not(call, run):
    sweep()
    assert call(transform.main, run, "own.npz")[0] == 0
    path = Path(run) if run.endswith("safetensors") else Path(run, "params.safetensors")
    tensors = load_file(path)
    assert ("W_prime" in tensors) == ("sweep" in run)
    x = own("x_test").reshape(30, -1) / 255
    expected = sigmoid(x @ tensors["W"].astype(np.float64) + tensors["b"])
    np.testing.assert_allclose(np.load("codes.npy"), expected, rtol=5e-6)


def test_a_das_images_are_resized_where_that_is_asked_for(call):
    values = np.random.default_rng(3).integers(0, 256, (8, 6))
    picture(Path("new/1.png"), values.repeat(2, 0).repeat(2, 1))
    status, _, err = call(transform.main, "da", "new")
    assert status == 2 and "expected 48 values, as in training, got 16 x 12; pass --image" in err
    assert call(transform.main, "da", "new", "--image-size", 8, 6)[0] == 0
    tensors = load_file("da/params.safetensors")
    expected = sigmoid(values.reshape(1, 48) / 255 @ tensors["W"].astype(float) + tensors["b"])
    np.testing.assert_allclose(np.load("codes.npy"), expected, rtol=5e-6)


def test_floats_may_lie_a_little_outside_the_training_images(call):
    save_model(Path("m.safetensors"), 4, FLOATS)
    np.save("x.npy", np.array([[-0.05, 0, 1, 1.05]], np.float32))
    assert call(predict.main, "m.safetensors", "x.npy")[0] == 0
    save_model(Path("m.safetensors"), 4, FLOATS | {"range": [-3, 3]})
    np.save("x.npy", np.array([[-3.5, 0, 1, 3.5]], np.float32))
    assert call(predict.main, "m.safetensors", "x.npy")[0] == 0


def test_integers_may_be_any_that_pixels_can_be(call):
    save_model(Path("m.safetensors"), 4, FLOATS | {"integer_pixels": True, "range": [9, 300]})
    for dtype, values in (("u1", [0, 1, 254, 255]), ("i2", [0, 1, 256, 300])):
        np.save("x.npy", np.array([values], dtype))
        assert call(predict.main, "m.safetensors", "x.npy")[0] == 0
    np.save("x.npy", np.array([[0, 1, 2, 301]], "i2"))
    assert "integers in 0 to 300, as in training" in call(predict.main, "m.safetensors", "x.npy")[2]


# ---- what is refused ------------------------------------------------------------------------


def pixels(low: float, high: float, dtype: str = "u1", n: int = 48) -> np.ndarray:
    return np.linspace(low, high, n).astype(dtype)[None]


def copied(source: str, name: str, *without: str) -> None:
    shutil.copytree(source, name, ignore=shutil.ignore_patterns("checkpoints", *without))


def compared() -> None:
    copied("stack", "cmp", "model.safetensors")
    settings = json.loads(Path("cmp/config.json").read_text())
    settings["comparison"]["compare"] = True
    Path("cmp/config.json").write_text(json.dumps(settings))


def unfinished_seeds() -> None:
    copied("stack", "seeds/seed_7", "model.safetensors", "config.json")
    shutil.copy("stack/config.json", "seeds")


def seeds() -> None:
    for i in (7, 8):
        copied("stack", f"seeds/seed_{i}", "config.json")


FINISH = "finish it: python -m dae_jax.pretrain --resume --run-dir"
BAD_RUNS = {
    "nothing": (lambda: None, "r", "r: expected a run directory with model.safetensors"),
    "empty folder": (lambda: Path("r").mkdir(), "r", "got neither; check the path"),
    "several seeds": (seeds, "seeds", "choose one: seeds/seed_7, seeds/seed_8"),
    "unfinished": (lambda: copied("stack", "r", "model.*"), "r", f"{FINISH} r\n"),
    "layer missing, too": (lambda: copied("stack", "r", "*.safetensors"), "r", f"{FINISH} r\n"),
    "unfinished seed": (unfinished_seeds, "seeds/seed_7", f"{FINISH} seeds\n"),
    "comparison": (compared, "cmp", "which keeps no model; train one without --compare"),
    "not safetensors": (lambda: Path("r").write_text("W = 1"), "r", "cannot read parameters"),
    "cut off": (
        lambda: Path("r").write_bytes(Path("stack/model.safetensors").read_bytes()[:-9]),
        "r",
        "cannot read parameters from r",
    ),
    "other tensors": (lambda: save_file({"x": np.zeros(3)}, "r"), "r", "top.b of a classifier"),
    "no metadata": (
        lambda: save_file(load_file("stack/model.safetensors"), "r"),
        "r",
        "metadata of r: expected what python -m dae_jax.pretrain writes there",
    ),
}


@pytest.mark.parametrize("main", [predict.main, transform.main])
@pytest.mark.parametrize("name", BAD_RUNS)
def test_a_run_without_a_model_is_one_line_and_writes_nothing(call, here, main, name):
    prepare, run, told = BAD_RUNS[name]
    prepare()
    before = written(here)
    status, out, err = call(main, run, "own.npz")
    assert (status, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert told in err
    assert written(here) == before


@pytest.mark.parametrize(
    ("run", "told"),
    [
        ("da", "a dA, which knows no classes"),
        ("sweep", "a dA, which knows no classes"),
        ("sweep/corruption_0", "a dA, which knows no classes"),
        ("da/params.safetensors", "got W, b, b_prime"),
    ],
)
def test_a_da_predicts_nothing(call, here, run, told):
    sweep()
    status, _, err = call(predict.main, run, "own.npz")
    assert status == 2 and err.count("\n") == 1 and told in err
    assert written(here) == {"sweep"}


def test_das_that_cannot_encode(call):
    sweep()
    for run, told in (
        ("sweep", "choose one: sweep/corruption_0, sweep/corruption_30"),
        ("unfinished", "finish it: python -m dae_jax.train --resume --run-dir unfinished"),
        ("lonely/params.safetensors", "config.json of its run beside it"),
    ):
        if run == "unfinished":
            copied("da", run, "params.safetensors")
        if run.startswith("lonely"):
            copied("da", "lonely", "config.json")
        status, _, err = call(transform.main, run, "own.npz")
        assert status == 2 and err.count("\n") == 1 and told in err
    assert not Path("codes.npy").exists()


BAD_IMAGES = {
    "no such data": ("stack", "mnits", None, "did you mean mnist?"),
    "no such path": ("stack", "none/here", None, "or a path"),
    "too few pixels": ("stack", "x.npy", pixels(0, 255, n=49), "expected 8 x 6, as in training"),
    "turned": ("stack", "x.npy", pixels(0, 255).reshape(1, 6, 8), "got 6 x 8; prepare them"),
    "floats": ("stack", "x.npy", pixels(0, 1, "f4"), "integers in 0 to 255, as in training, got"),
    "16 bits": ("stack", "x.npy", pixels(0, 65535, "u2"), "got integers in 0 to 65535; scale"),
    "negative": ("stack", "x.npy", pixels(-1, 255, "i2"), "got integers in -1 to 255"),
    "integers": ("f", "x.npy", pixels(0, 1, n=4), "floats in 0 to 1, as in training, got integers"),
    "bytes as floats": ("f", "x.npy", pixels(0, 255, "f4", 4), "got floats in 0 to 255; scale"),
    "about zero": ("f", "x.npy", pixels(-1, 1, "f4", 4), "got floats in -1 to 1; scale"),
    "grey": ("c", "pets", None, "expected 4 x 5 x 3, as in training, got 4 x 5; convert them to c"),
    "colour": ("pets_run", "rgb", None, "got 4 x 5 x 3; convert them to grey"),
    "no part": ("stack", "own.npz --part valid", None, "train, test or all of own.npz"),
    "size of an array": ("stack", "own.npz --image-size 8 6", None, "a folder of images"),
    "another size": ("pets_run", "pets --image-size 5 4", None, "leave --image-size out"),
    "no size": ("pets_run", "pets --image-size 0 4", None, "images of 1 to"),
    "broken": ("stack", "x.npz", b"PK broken", "x.npz"),
    "broken picture": ("pets_run", "x.png", b"\x89PNG", "x.png"),
    "not finite": ("f", "x.npy", pixels(0, np.nan, "f4", 4), "finite"),
    "unknown flag": ("stack", "own.npz --hidden 3", None, "--hidden"),
    "no images": ("stack", "", None, "IMAGES"),
    "unwritable": ("stack", "own.npz --out own.npz/x.npy", None, "cannot write own.npz/x.npy"),
}


@pytest.mark.parametrize("main", [predict.main, transform.main])
@pytest.mark.parametrize("name", BAD_IMAGES)
def test_images_of_another_kind_are_one_line_and_write_nothing(call, here, main, name):
    run, argv, content, told = BAD_IMAGES[name]
    save_model(Path("f"), 4, FLOATS)
    save_model(Path("c"), 60, COLOUR)
    picture(Path("rgb/1.png"), np.full((4, 5, 3), [1, 2, 3]))
    if isinstance(content, bytes):
        Path(argv).write_bytes(content)
    elif content is not None:
        np.save(argv, content)
    before = written(here)
    status, out, err = call(main, run, *argv.split())
    assert (status, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert told in err
    assert written(here) == before


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["stack", "own.npz", "--layer", "3"], "--layer: expected 1 to 2"),
        (["stack", "own.npz", "--layer", "0"], "--layer: expected 1 to 2"),
        (["da", "own.npz", "--layer", "2"], "--layer: expected 1 to 1"),
        (["stack", "own.npz", "--out", "codes.csv"], "ends in .npy"),
    ],
)
def test_layers_that_there_are_not_are_refused(call, here, argv, told):
    status, _, err = call(transform.main, *argv)
    assert status == 2 and err.count("\n") == 1 and told in err
    assert written(here) == set()


@pytest.mark.parametrize("main", [predict.main, transform.main])
def test_debug_shows_the_traceback_and_help_the_flags(here, capfd, main):
    with pytest.raises(ValueError, match="check the path"):
        command.run(main, ["nowhere", "own.npz", "--debug"])
    with pytest.raises(SystemExit) as stop:
        command.run(main, ["--help"])
    assert stop.value.code == 0
    told = capfd.readouterr().out
    for word in ("RUN", "IMAGES", "--part", "--out", "run directory"):
        assert word in told


def test_a_reader_that_has_seen_enough_is_no_error(here):
    code = "import sys; from dae_jax import predict; sys.exit(predict.cli())"
    with subprocess.Popen(
        [sys.executable, "-c", code, "stack", "own.npz", "--out", "-"],
        env=os.environ | {"PYTHONPATH": str(Path(predict.__file__).parent.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        told = process.stderr.read()
        assert process.wait(60) == 0
    assert told.startswith("error ") and told.count("\n") == 1
