"""Checks of a data set before training: pixels, labels, shifts, comparisons, more images."""

from pathlib import Path

import numpy as np
import pytest

from dae_jax import datasets
from dae_jax.datasets import Dataset, Split, checks
from helpers import refused
from trained_models import picture

PIXELS = np.arange(48, dtype=np.uint8).reshape(12, 4)
LABELS = np.arange(12, dtype=np.int32) % 3


def dataset(labels=LABELS, test=LABELS, names=None, shape=(2, 2)):
    part, held_out = Split(PIXELS, labels), Split(PIXELS, test)
    return Dataset("toy", "here", part, held_out, held_out, shape, names)


# ---- pixels ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "scale"),
    [
        (np.array([[0, 255]], np.uint8), 255.0),
        (np.array([[0, 255]], np.uint8), 256.0),
        (np.array([[0, 900]], np.int32), 900.0),
        (np.array([[0, 1]], np.float32), 255.0),  # floats are not scaled
    ],
)
def test_pixels_in_the_unit_interval_are_accepted(images, scale):
    checks.check_range("toy", images, scale, "cross-entropy", linear=False)


@pytest.mark.parametrize(
    ("images", "scale", "words"),
    [
        (np.array([[0, 255]], np.uint8), 100.0, ("0 to 2.55", "pass --pixel-scale 255")),
        (np.array([[-5, 255]], np.int32), 255.0, ("scale them to [0, 1]",)),
        (np.array([[0, 1.5]], np.float32), 255.0, ("0 to 1.5", "--decoder linear")),
        (np.array([[-0.5, 1]], np.float32), 255.0, ("-0.5 to 1", "--cost squared-error")),
    ],
)
def test_other_pixels_need_a_linear_decoder(images, scale, words):
    refused(
        lambda: checks.check_range("toy", images, scale, "cross-entropy", linear=False),
        "pixels of toy: expected values in [0, 1] for --cost cross-entropy",
        *words,
    )
    checks.check_range("toy", images, scale, "squared-error", linear=True)


# ---- labels ----------------------------------------------------------------------------------


def test_the_names_of_classes_are_printed_unless_they_are_their_numbers(capsys):
    checks.check_labels(dataset())
    checks.check_labels(dataset(names=("0", "1", "2")))
    assert not capsys.readouterr().out
    checks.check_labels(dataset(names=("cat", "dog", "newt")))
    assert capsys.readouterr().out == "classes: cat = 0, dog = 1, newt = 2\n"
    many = np.arange(12, dtype=np.int32)
    checks.check_labels(dataset(many, many, tuple("abcdefghijkl")))
    assert capsys.readouterr().out.endswith("j = 9, ...\n")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (dataset(labels=None), ("labels of toy", "got none", ".csv", "--unlabelled")),
        (dataset(0 * LABELS, 0 * LABELS), ("classes of toy", "at least 2, got 0")),
        (dataset(LABELS % 2), ("expected some of each class, got none of 2",)),
        (dataset(LABELS % 2, names=("a", "b", "newt")), ("got none of newt",)),
    ],
    ids=["none", "one class", "only tested", "only tested, with a name"],
)
def test_labels_that_a_classifier_cannot_learn_are_refused(data, words):
    refused(lambda: checks.check_labels(data), *words)


# ---- shifts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "limit", "size"), [((3, 5), 2, "3 x 5"), ((4, 2, 3), 1, "4 x 2 x 3")]
)
def test_images_can_be_shifted_by_less_than_their_size(shape, limit, size):
    for furthest in (0, limit):
        checks.check_shift(dataset(shape=shape), furthest)
    for furthest in (-1, limit + 1):
        words = (f"expected 0 to {limit} for images of {size}", f"got {furthest}")
        refused(lambda f=furthest: checks.check_shift(dataset(shape=shape), f), *words)


def test_vectors_cannot_be_shifted():
    checks.check_shift(dataset(shape=None), 0)
    words = "--shift: expected 0 for images of 4 values, got 1"
    refused(lambda: checks.check_shift(dataset(shape=None), 1), words)


# ---- comparisons -----------------------------------------------------------------------------


def test_a_comparison_needs_labels_of_all_classes_two_seeds_and_images_to_test_on():
    data = dataset()
    checks.check_comparison(data, [3, 12, "all"], 2)
    for budget in (2, 13):
        words = ("--labels: expected 3 (one for each class) to 12", f"got {budget}")
        refused(lambda b=budget: checks.check_comparison(data, [b], 2), *words)
    refused(lambda: checks.check_comparison(data, [3], 1), "--seeds: expected at least 2")
    nothing = Split(PIXELS[:0], None)
    for part in ("valid", "test"):
        without = data._replace(**{part: nothing})
        refused(lambda d=without: checks.check_comparison(d, [3], 2), "--compare", "labelled")


# ---- more images -----------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_more_images_are_added_without_their_labels(capsys):
    np.savez("more.npz", x=PIXELS[:5].reshape(5, 2, 2) + 100, y=np.arange(5))
    both = checks.with_unlabelled(dataset(), "more.npz", None)
    assert "5 images without labels for pretraining, from more.npz" in capsys.readouterr().out
    np.testing.assert_array_equal(both.unlabelled, PIXELS[:5] + 100)
    assert both._replace(unlabelled=None) == dataset()
    expected = np.concatenate([PIXELS, PIXELS[:5] + 100])
    np.testing.assert_array_equal(both.pretraining_images, expected)


@pytest.mark.usefixtures("here")
def test_a_folder_of_more_images_is_resized_to_those_with_labels():
    for i in range(3):
        picture(Path(f"more/{i}.png"), np.full((6, 4), 50 * i))
    both = checks.with_unlabelled(dataset(), "more", None)
    np.testing.assert_array_equal(both.unlabelled, np.repeat([[0], [50], [100]], 4, axis=1))
    vectors = dataset(shape=None)
    refused(lambda: checks.with_unlabelled(vectors, "more", None), "of 4 values", "got 6 x 4")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("more", "words"),
    [
        (PIXELS.reshape(12, 1, 4), ("images of 2 x 2", "got 1 x 4")),
        (np.zeros((5, 3, 3), np.uint8), ("images of 2 x 2", "got 3 x 3")),
        (np.zeros((5, 2, 2), np.float32), ("uint8 pixels", "got float32")),
    ],
    ids=["turned", "size", "kind"],
)
def test_more_images_of_another_kind_are_refused(more, words):
    np.save("more.npy", more)
    refused(
        lambda: checks.with_unlabelled(dataset(), "more.npy", None), "--unlabelled more.npy", *words
    )


@pytest.fixture
def pictures(here):
    """Folders of 2 x 2 images, grey or in colour, and the data set of one of them."""

    def pictures(name, *, colour=False, n=6, side=2):
        values = np.zeros((side, side, 3) if colour else (side, side))
        for i in range(n):
            picture(Path(f"{name}/{'ab'[i % 2]}/{i}.png"), values + 40 * i)
        return datasets.load_whole(name)

    return pictures


@pytest.mark.parametrize("colour", [False, True], ids=["grey", "colour"])
def test_grey_beside_colour_is_refused_and_grey_reads_both_as_grey(pictures, colour):
    few = pictures("few", colour=colour)
    pictures("many", colour=not colour)
    own, other = ("2 x 2 x 3 in colour", "2 x 2") if colour else ("2 x 2", "2 x 2 x 3 in colour")
    words = f"images of {own}, like those with labels, got {other}; pass --grey to read both"
    refused(lambda: checks.with_unlabelled(few, "many", None), "--unlabelled many", words)
    # what it advises works
    few = datasets.load_whole("few", grey=True)
    more = checks.with_unlabelled(few, "many", None, True).unlabelled
    assert more is not None
    np.testing.assert_array_equal(more[:, 0], [0, 80, 160, 40, 120, 200])


def test_a_mix_beside_image_files_is_refused_with_the_flag_and_beside_arrays_without(pictures):
    few = pictures("few")
    pictures("many", n=3)
    picture(Path("many/b/3.png"), np.zeros((2, 2, 3)))
    mixed = "3 grey and 1 in colour (b/3.png)"
    refused(lambda: checks.with_unlabelled(few, "many", None), mixed, "pass --grey")
    assert "--grey" not in refused(lambda: checks.with_unlabelled(dataset(), "many", None), mixed)


def test_the_size_to_pass_is_that_of_arrays_or_else_that_of_the_labelled_images(pictures):
    few = pictures("few")
    pictures("many", side=5)
    np.save("more.npy", np.zeros((3, 4, 7), np.uint8))
    for more, words in (("many", "got 5 x 5; pass --image-size 2 2"),
                        ("more.npy", "got 4 x 7; pass --image-size 4 7")):  # fmt: skip
        refused(lambda m=more: checks.with_unlabelled(few, m, None), "images of 2 x 2,", words)
    resized = datasets.load_whole("few", image_size=(4, 7))
    assert checks.with_unlabelled(resized, "more.npy", (4, 7)).unlabelled is not None
    both = checks.with_unlabelled(few, "many", (2, 2))
    assert both.pretraining_images.shape == (12, 4)
    words = "got 4 x 7; prepare both alike"  # arrays cannot be resized
    refused(lambda: checks.with_unlabelled(dataset(), "more.npy", None), words)


def test_arrays_in_colour_cannot_be_read_as_grey(pictures):
    few = pictures("few")
    np.save("more.npy", np.zeros((3, 2, 2, 3), np.uint8))
    words = "got 2 x 2 x 3 in colour; prepare both alike"
    refused(lambda: checks.with_unlabelled(few, "more.npy", None), words)
    few = pictures("rgb", colour=True)
    np.save("more.npy", np.zeros((3, 2, 2), np.uint8))
    refused(lambda: checks.with_unlabelled(few, "more.npy", None), "got 2 x 2; pass --grey")


def test_labelled_images_are_not_added_again(pictures, capsys):
    pictures("few")
    lines = ["file,label", "a/0.png,a", "b/1.png,b", "b/3.png,b"]
    Path("few/labels.csv").write_text("\n".join(lines))
    few = datasets.load_whole("few/labels.csv")
    both = checks.with_unlabelled(few, "few", None)
    np.testing.assert_array_equal(both.pretraining_images[:, 0], [0, 40, 120, 80, 160, 200])
    out = capsys.readouterr().out
    assert "3 of 6 images of few are left out: they have labels\n3 images without labels" in out
    few = datasets.load_whole("few")
    refused(lambda: checks.with_unlabelled(few, "few", None), "few: ", "got 6 that have labels")


def test_sizes_are_written_with_crosses():
    assert checks.in_words((2, 3), 6) == "2 x 3" and checks.in_words((2, 3, 3), 18) == "2 x 3 x 3"
    assert checks.in_words(None, 5) == "5 values"
