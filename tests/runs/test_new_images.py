"""New images for a model: found, resized, compared with its card, and refused if they differ."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dae_jax import predict, transform
from dae_jax.datasets import image_folder
from dae_jax.runs import new_images
from helpers import assert_one_line, refused
from trained_models import floats_card, own, picture, save_classifier, written

BYTES = floats_card(image_shape=(2, 2), integer_pixels=True, range=(0.0, 255.0))


@pytest.fixture
def _parts(here):
    x, y = np.arange(40, dtype=np.uint8).reshape(10, 4), np.arange(10) % 2
    np.savez("parts.npz", x_train=x[:7], y_train=y[:7], x_test=x[7:], y_test=y[7:])


@pytest.mark.usefixtures("_parts")
def test_the_test_images_are_used_unless_another_part_is_chosen():
    new = new_images.load("parts.npz", BYTES)
    np.testing.assert_array_equal(new.images[:, 0], [28, 32, 36])
    assert new.names == ["0", "1", "2"] and new.class_names == ("0", "1")
    np.testing.assert_array_equal(new.labels, [1, 0, 1])
    np.testing.assert_array_equal(
        new_images.load("parts.npz", BYTES, "all").images[:, 0] // 4, range(10)
    )
    assert len(new_images.load("parts.npz", BYTES, "train").images) == 7
    words = ("--part valid", "train, test or all of parts.npz")
    refused(lambda: new_images.load("parts.npz", BYTES, "valid"), *words)


@pytest.mark.usefixtures("_parts")
def test_images_the_model_may_have_been_trained_on_are_marked():
    known = floats_card(
        integer_pixels=True, range=(0.0, 255.0), config={"data": {"data": "parts.npz"}}
    )
    seen = {
        part: new_images.load("parts.npz", known, part).seen for part in ("train", "test", "all")
    }
    assert seen == {"train": True, "test": False, "all": True}
    assert not new_images.load("parts.npz", BYTES, "train").seen


@pytest.mark.usefixtures("here")
def test_a_folder_is_resized_to_the_size_of_the_training_images():
    for name in ("b/1.png", "a/2.png", "a/10.png"):
        picture(Path("new", name), np.full((6, 4), 9))
    new = new_images.load("new", BYTES)
    assert new.images.shape == (3, 4) and new.images.dtype == np.uint8
    assert new.names == ["a/2.png", "a/10.png", "b/1.png"]
    assert new.class_names == ("a", "b") and new.labels.tolist() == [0, 0, 1]
    unknown = floats_card(image_shape=None, pixels=24, integer_pixels=True, range=(0.0, 255.0))
    assert new_images.load("new", unknown, image_size=(6, 4)).images.shape == (3, 24)
    refused(lambda: new_images.load("new", BYTES, image_size=(6, 4)), "leave --image-size out")


@pytest.mark.usefixtures("here")
def test_colour_is_read_as_grey_if_the_training_images_were_or_if_wanted():
    for i in range(3):
        picture(Path(f"new/{i}.png"), np.full((2, 2, 3), 9 * i))
    words = "expected 2 x 2, as in training, got 2 x 2 x 3; pass --grey"
    refused(lambda: new_images.load("new", BYTES), words)
    trained_with_it = replace(BYTES, config={"data": {"data": "elsewhere", "grey": True}})
    for new in (new_images.load("new", BYTES, grey=True), new_images.load("new", trained_with_it)):
        np.testing.assert_array_equal(new.images, [[9 * i] * 4 for i in range(3)])
    picture(Path("new/3.png"), np.full((2, 2), 27))
    mixed = "3 in colour and 1 grey (3.png)"
    refused(lambda: new_images.load("new", BYTES), mixed, "pass --grey")
    assert len(new_images.load("new", BYTES, grey=True).images) == 4
    colour = replace(BYTES, image_shape=(2, 2, 3), pixels=12)
    refused(lambda: new_images.load("new", colour), mixed, "; convert the grey ones to colour")


@pytest.mark.usefixtures("here")
def test_a_size_that_is_not_the_models_is_refused_before_any_image_has_it(monkeypatch):
    picture(Path("new/1.png"), np.full((2, 2, 3), 9))
    unknown = replace(BYTES, image_shape=None, pixels=75)
    with monkeypatch.context() as patch:
        patch.setattr(image_folder, "_decoded", None)
        size, words = (100_000, 100_000), "got 100000 x 100000; leave --image-size out"
        refused(lambda: new_images.load("new", BYTES, image_size=size), "expected 2 x 2", words)
        words = "got 4 x 5; pass --image-size"
        refused(lambda: new_images.load("new", unknown, image_size=(4, 5)), "75 values", words)
    for size, grey in (((5, 5), False), ((15, 5), True)):
        assert new_images.load("new", unknown, image_size=size, grey=grey).images.shape == (1, 75)


@pytest.mark.usefixtures("here")
def test_new_images_may_have_their_labels_in_a_csv_file(capsys):
    for name in ("2.png", "10.png", "new/1.png", "extra.png"):
        picture(Path("set", name), np.full((1, 2), 9))
    Path("set/labels.csv").write_text("file,label\n10.png,b\nnew/1.png,a\n2.png,b\n")
    new = new_images.load("set/labels.csv", BYTES)
    assert new.names == ["10.png", "new/1.png", "2.png"]
    assert new.labels is not None
    assert (new.labels.tolist(), new.class_names) == ([1, 0, 1], ("a", "b"))
    out, err = capsys.readouterr()
    assert not out and err.splitlines() == [
        "1 images that labels.csv does not list are ignored",
        "enlarged to 2 x 2, from 1 x 2: 3 of 3 images of set/labels.csv",
    ]


@pytest.mark.usefixtures("here")
def test_floats_may_lie_a_little_outside_the_range_of_the_training_images():
    np.save("x.npy", np.array([[-0.05, 0, 1, 1.05]], np.float32))
    assert len(new_images.load("x.npy", floats_card()).images) == 1
    np.save("x.npy", np.array([[-3.5, 0, 1, 3.5]], np.float32))
    assert len(new_images.load("x.npy", floats_card(range=(-3.0, 3.0))).images) == 1


@pytest.mark.usefixtures("here")
def test_integers_may_have_any_value_that_a_pixel_can_have():
    card = floats_card(integer_pixels=True, range=(9.0, 300.0))
    for dtype, values in (("u1", [0, 1, 254, 255]), ("i2", [0, 1, 256, 300])):
        np.save("x.npy", np.array([values], dtype))
        assert len(new_images.load("x.npy", card).images) == 1
    np.save("x.npy", np.array([[0, 1, 2, 301]], "i2"))
    refused(lambda: new_images.load("x.npy", card), "integers in 0 to 300, as in training")


def test_a_pickle_keeps_its_parts(models_here, call):
    import pickle

    x, y = own("x_train").reshape(70, -1), own("y_train")
    parts = (x[:40], y[:40]), (x[40:50], y[40:50]), (x[50:], y[50:])
    Path("tutorial.pkl").write_bytes(pickle.dumps(parts))
    card = floats_card(image_shape=None, pixels=48, integer_pixels=True)
    for part, n in ((None, 20), ("valid", 10), ("all", 70)):
        assert len(new_images.load("tutorial.pkl", card, part).images) == n


# ---- refused by both commands ----------------------------------------------------------------


def pixels(low: float, high: float, dtype: str = "u1", n: int = 48) -> np.ndarray:
    return np.linspace(low, high, n).astype(dtype)[None]


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
    "colour": ("pets_run", "rgb", None, "got 4 x 5 x 3; pass --grey to read them as grey"),
    "grey colour": ("c", "rgb --grey", None, "--grey: expected a model of grey images"),
    "grey arrays": ("stack", "own.npz --grey", None, "--grey: expected a folder of images"),
    "no part": ("stack", "own.npz --part valid", None, "train, test or all of own.npz"),
    "size of an array": ("stack", "own.npz --image-size 8 6", None, "a folder of images"),
    "another size": ("pets_run", "pets --image-size 5 4", None, "leave --image-size out"),
    "no size": ("pets_run", "pets --image-size 0 4", None, "images of at least 1 x 1"),
    "broken": ("stack", "x.npz", b"PK broken", "x.npz"),
    "broken picture": ("pets_run", "x.png", b"\x89PNG", "x.png"),
    "not finite": ("f", "x.npy", pixels(0, np.nan, "f4", 4), "NaN alone"),
    "unknown flag": ("stack", "own.npz --hidden 3", None, "--hidden"),
    "no images": ("stack", "", None, "IMAGES"),
    "unwritable": ("stack", "own.npz --out own.npz/x.npy", None, "cannot write own.npz/x.npy"),
}


@pytest.mark.parametrize("main", [predict.main, transform.main], ids=["predict", "transform"])
@pytest.mark.parametrize("name", BAD_IMAGES)
def test_images_of_another_kind_are_one_line_and_write_nothing(call, models_here, main, name):
    run, argv, content, words = BAD_IMAGES[name]
    save_classifier("f")
    colour = dict(image_shape=(4, 5, 3), pixels=60, integer_pixels=True, range=(9.0, 200.0))
    save_classifier("c", **colour)
    picture(Path("rgb/1.png"), np.full((4, 5, 3), [1, 2, 3]))
    if isinstance(content, bytes):
        Path(argv).write_bytes(content)
    elif content is not None:
        np.save(argv, content)
    before = written(models_here)
    status, out, err = call(main, run, *argv.split())
    assert (status, out) == (2, "")
    assert_one_line(err)
    assert words in err
    assert written(models_here) == before
