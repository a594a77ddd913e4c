"""`python -m dae_jax.predict` as a user meets it: its table against NumPy in float64, errors."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dae_jax import console, evaluation, predict
from dae_jax.datasets import image_folder
from helpers import ROOT, assert_one_line, read_json
from trained_models import (
    numpy_probabilities,
    own,
    picture,
    save_classifier,
    write_sweep,
    written,
)

pytestmark = pytest.mark.usefixtures("models_here")


def table(text: str | None = None) -> tuple[list[str], list[list[str]]]:
    text = Path("predictions.csv").read_text() if text is None else text
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    return header, rows


def test_the_test_set_gets_the_networks_probabilities_and_the_runs_test_error(call):
    status, out, err = call(predict.main, "stack", "own.npz")
    assert (status, err) == (0, "")
    header, rows = table()
    assert header == ["image", "class", "probability", "p_0", "p_1", "p_2"]
    assert [row[0] for row in rows] == [str(i) for i in range(30)]
    probabilities = np.array([[float(p) for p in row[3:]] for row in rows])
    # float32 sums of 48 terms, and six digits: both are within 1e-6 of the value, relative
    expected = numpy_probabilities("stack", own("x_test"))
    np.testing.assert_allclose(probabilities, expected, rtol=5e-6)
    assert [row[1] for row in rows] == [str(i) for i in probabilities.argmax(axis=1)]
    assert [row[2] for row in rows] == [max(row[3:], key=float) for row in rows]
    wrong = np.mean(probabilities.argmax(axis=1) != own("y_test"))
    assert wrong == read_json("stack/results.json")["test_error"]
    first, files, warning, *_ = out.splitlines()
    ends = " to ".join(f"{e:.2%}" for e in evaluation.error_interval(round(30 * wrong), 30))
    words = f"error {wrong:.2%} of 30 labelled images, 95 % interval {ends}"
    assert first.startswith(f"predictions.csv  {words}; highest for class ")
    assert files == "predictions_confusion.csv, predictions_confusion.png"
    assert warning.startswith("warning: the error rests on 30 images only")
    # the confusion matrix, against one that is counted here
    header, rows = table(Path("predictions_confusion.csv").read_text())
    assert header == ["true class", "0", "1", "2"] and [row[0] for row in rows] == ["0", "1", "2"]
    true, given = own("y_test"), probabilities.argmax(axis=1)
    counts = [[np.sum((true == i) & (given == j)) for j in range(3)] for i in range(3)]
    assert np.array([row[1:] for row in rows], int).tolist() == counts
    worst = max((1 - row[i] / sum(row), -i) for i, row in enumerate(counts))
    assert first.endswith(f"class {-worst[1]}: {worst[0]:.2%} of {sum(counts[-worst[1]])}")
    with Image.open("predictions_confusion.png") as image:
        about = json.loads(image.text["dae_jax"])
    assert about == {"model": "stack/model.safetensors", "images": "own.npz"}


@pytest.mark.parametrize("part", ["train", "all"])
def test_all_images_come_in_the_order_of_the_source(call, part):
    status, out, _ = call(predict.main, "stack", "own.npz", "--part", part)
    assert status == 0
    assert out.splitlines()[0].endswith("; the model was trained on some of them")
    x = own("x_train")
    x = np.concatenate([x, own("x_test")]) if part == "all" else x
    probabilities = np.array([row[3:] for row in table()[1]], float)
    np.testing.assert_allclose(probabilities, numpy_probabilities("stack", x), rtol=5e-6)


def test_images_without_parts_or_labels_are_all_predicted_and_counted(call, models_here):
    np.save("some.npy", own("x_train"))
    status, out, _ = call(predict.main, "stack/model.safetensors", "some.npy", "--out", "a/b.csv")
    assert status == 0
    _, rows = table(Path("a/b.csv").read_text())
    assert len(rows) == 70
    counts = {name: sum(row[1] == name for row in rows) for name in "012"}
    words = [f"{k} {n}" for k, n in sorted(counts.items(), key=lambda kn: -kn[1]) if n]
    assert out == f"a/b.csv  70 images: {', '.join(words)}\n"
    assert written(models_here / "a") == {"b.csv"}


def test_dash_prints_the_table_and_nothing_else(call, models_here):
    _, words, _ = call(predict.main, "stack", "own.npz", "--out", "a/b.csv")
    assert written(models_here / "a") == {"b.csv", "b_confusion.csv", "b_confusion.png"}
    status, out, err = call(predict.main, "stack", "own.npz", "--out", "-")
    assert status == 0 and out == Path("a/b.csv").read_text()
    first, _, *warnings = words.splitlines()
    assert err.splitlines() == [first.removeprefix("a/b.csv  "), *warnings]
    assert written(models_here) == {"a"}


def test_the_size_of_a_chunk_makes_no_difference(call, monkeypatch):
    call(predict.main, "stack", "own.npz")
    whole = np.array([row[3:] for row in table()[1]], float)
    monkeypatch.setattr(evaluation, "CHUNK", 7)
    call(predict.main, "stack", "own.npz")
    # another number of rows may be summed in another order
    chunked = np.array([row[3:] for row in table()[1]], float)
    np.testing.assert_allclose(chunked, whole, rtol=5e-6)


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
    assert [row[0] for row in rows] == names == image_folder.image_names("new")
    probabilities = np.array([row[3:] for row in rows], float)
    np.testing.assert_allclose(probabilities, numpy_probabilities("pets_run", small), rtol=5e-6)
    wrong = [row[1] != row[0].split("/")[0] for row in rows[3:]]
    first = out.splitlines()[0]
    assert first.startswith(f"predictions.csv  error {np.mean(wrong):.2%} of 9 labelled images, ")
    assert first.endswith("; 3 of classes that the model does not know (ant)")
    header, counts = table(Path("predictions_confusion.csv").read_text())
    assert header == ["true class", "cat", "dog, wet"]
    assert [sum(map(int, row)) for _, *row in counts] == [3, 6]


def test_images_of_unknown_classes_only_are_counted_as_if_without_labels(call):
    picture(Path("new/ant/1.png"), np.zeros((4, 5)))
    _, out, _ = call(predict.main, "pets_run", "new")
    assert "1 images: " in out and "does not know (ant)" in out and "error" not in out


def test_errors_that_say_little_are_warned_of_in_one_line_each(call):
    rng = np.random.default_rng(3)
    for i in range(4):
        picture(Path("new/cat", f"{i}.png"), rng.integers(0, 256, (4, 5)))
    status, out, err = call(predict.main, "pets_run", "new")
    assert (status, err) == (0, "")
    warnings = [line for line in out.splitlines() if line.startswith("warning: ")]
    few, untested = warnings  # of one class there is nothing to guess
    assert "rests on 4 images only" in few and "1 class, dog, wet: the error there" in untested


def test_an_error_that_guessing_would_have_is_warned_of(call):
    rng = np.random.default_rng(3)
    save_classifier("random.safetensors")
    np.savez("ab.npz", x=rng.random((40, 2, 2), np.float32), y=np.repeat(["a", "b"], 20))
    status, out, _ = call(predict.main, "random.safetensors", "ab.npz")
    assert status == 0
    words = "the error is not clearly below 50.00%, that of always guessing class a: check that"
    assert words in out.splitlines()[-1]


def test_a_single_image_is_a_folder_of_one(call, models_here):
    values = np.random.default_rng(3).integers(0, 256, (4, 5))
    picture(Path("new/one.PNG"), values)
    assert call(predict.main, "pets_run", models_here / "new" / "one.PNG").status == 0
    ((name, *_, p, q),) = table()[1]
    assert name == "one.PNG"
    expected = numpy_probabilities("pets_run", values[None])
    np.testing.assert_allclose([[float(p), float(q)]], expected, rtol=5e-6)


# ---- refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["da", "sweep", "sweep/corruption_0", "da/params.safetensors"])
def test_a_da_predicts_nothing(call, models_here, run):
    write_sweep()
    status, _, err = call(predict.main, run, "own.npz")
    assert status == 2
    assert_one_line(err, "a dA, which knows no classes")
    assert written(models_here) == {"sweep"}


def test_debug_shows_the_traceback_and_help_the_flags(capfd):
    with pytest.raises(ValueError, match="check the path"):
        console.run(predict.main, ["nowhere", "own.npz", "--debug"])
    with pytest.raises(SystemExit) as stop:
        console.run(predict.main, ["--help"])
    assert stop.value.code == 0
    out = capfd.readouterr().out
    for word in ("RUN", "IMAGES", "--part", "--out", "run directory"):
        assert word in out


@pytest.mark.slow
def test_a_reader_that_stops_reading_is_no_error():
    code = "import sys; from dae_jax import console; sys.exit(console.cli('predict'))"
    with subprocess.Popen(
        [sys.executable, "-c", code, "stack", "own.npz", "--out", "-"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(60) == 141
    assert err == ""
