"""Tables: what is read, as numbers, gaps, names and classes, and what is refused."""

import numpy as np
import pytest

from dae_jax import datasets
from dae_jax.datasets import tables
from helpers import refused


def table(path, *lines):
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "prices.csv"


def test_numbers_gaps_booleans_names_and_classes_are_read(path):
    lines = ["a, b,label,c", "1,2.5,x,True", "-3,,y,False", " 4 ,5,x,True"]
    read = tables.read_table(table(path, *lines))
    assert read.columns == ("a", "b", "c")
    np.testing.assert_array_equal(read.values, [[1, 2.5, 1], [-3, np.nan, 0], [4, 5, 1]])
    assert read.labels.tolist() == ["x", "y", "x"]


def test_another_column_can_hold_the_classes(path):
    read = tables.read_table(table(path, "label,kind", "1,3", "2,4"), "kind")
    assert read.columns == ("label",) and read.labels.tolist() == [3, 4]


def test_a_first_line_of_numbers_is_a_row(path):
    read = tables.read_table(table(path, "1,2", "3,4"))
    assert read.columns == ("0", "1")
    np.testing.assert_array_equal(read.values, [[1, 2], [3, 4]])


def test_parquet_is_read_like_csv(path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    read = tables.read_table(table(path, "a,b,label", "1,2.5,x", "3,,y"))
    other = path.with_suffix(".parquet")
    pandas.read_csv(path).to_parquet(other)
    again = tables.read_table(other)
    assert again.columns == read.columns and again.labels.tolist() == read.labels.tolist()
    np.testing.assert_array_equal(again.values, read.values)
    assert tables.column_names(other) == tables.column_names(path) == ["a", "b", "label"]


def test_a_table_is_a_data_set_of_vectors(path):
    lines = [f"{i},{i / 2},{i % 3},{-i}" for i in range(40)]
    data = datasets.load(table(path, "a,b,label,c", *lines), valid_fraction=0.2)
    assert (data.name, data.image_shape, data.columns) == ("prices", None, ("a", "b", "c"))
    assert data.train.images.dtype == np.float32 and data.train.n_classes == 3
    assert [len(part.images) for part in (data.train, data.valid, data.test)] == [24, 8, 8]


def test_a_list_of_images_is_no_table(path):
    refused(lambda: datasets.load(table(path, "file,label", "a.png,x")), "missing", "a.png")


BAD = {
    "text": (("a,b", "1,x"), "column b of", "'x'", "--label-column"),
    "semicolons": (("a;b", "1;2"), "column a;b of"),
    "twice": (("a,a", "1,2"), "a twice"),
    "more cells than names": (("a,b", "1,2,3"), "CSV"),
    "more cells in one line": (("a,b", "1,2", "1,2,3"), "line 3"),
    "no rows": (("a,b",), "0 rows"),
    "no columns but the classes": (("label", "x"), "1 rows of 0"),
    "nothing": ((), "an empty file"),
    "a gap among the classes": (("a,label", "1,x", "2,"), "none in row 2", "--unlabelled"),
    "gaps alone": (("a,b", ",", ","), "NaN alone"),
    "infinity": (("a,b", "1,inf"), "inf in"),
}


@pytest.mark.parametrize("case", BAD)
def test_other_files_are_refused(path, case):
    lines, *words = BAD[case]
    refused(lambda: datasets.load(table(path, *lines)), str(path), *words)


def test_bytes_that_are_no_text_are_refused(path):
    path.write_bytes(b"\xff\xfe\x00")
    refused(lambda: datasets.load(path), "UTF-8")
    other = path.with_suffix(".parquet")
    other.write_bytes(b"PAR1 but not quite")
    pytest.importorskip("pyarrow")
    refused(lambda: datasets.load(other), "a Parquet file")


def test_a_label_column_has_to_be_there_and_is_for_tables(path, tmp_path):
    refused(lambda: datasets.load(table(path, "a,b", "1,2"), label_column="c"), "--label-column")
    np.save(tmp_path / "x.npy", np.zeros((3, 4)))
    refused(lambda: datasets.load(tmp_path / "x.npy", label_column="c"), "leave --label-column out")
