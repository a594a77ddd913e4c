"""CSV files of labels are read in any usual form; a wrong line is named."""

from pathlib import Path

import pytest

from dae_jax.datasets.label_file import read_label_file
from helpers import refused_file


@pytest.fixture
def images(here: Path) -> Path:
    """Empty files, whose names are all that counts."""
    for name in ("a.png", "b.png", "cat/1.png", "dog/2.png", "new/3.png"):
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).touch()
    return here / "labels.csv"


@pytest.mark.parametrize(
    "text",
    [
        "file,label\na.png,cat\nb.png,dog\n",
        "label,file\ncat,a.png\ndog,b.png\n",
        'n,file,width,label,note\n1,a.png,5,cat,"x,y"\n2,b.png,5,dog\n',
        "\ufefffile,label\r\na.png,cat\r\nb.png,dog\r\n",
        " file , label \n a.png , cat \n\n,\n./b.png,dog",
        'file,label\n"a.png","cat"\n"new/../b.png", "dog"\n',
    ],
    ids=["plain", "other order", "more columns", "of a spreadsheet", "blanks", "quotes"],
)
def test_columns_may_be_in_any_order_and_lines_of_any_usual_form(images, text):
    images.write_text(text, encoding="utf-8", newline="")
    assert read_label_file(images) == {"a.png": "cat", "b.png": "dog"}


def test_lines_keep_their_order_and_labels_are_text(images):
    images.write_text("file,label\nb.png,007\nnew/3.png,kč\na.png,7\n", encoding="utf-8")
    assert list(read_label_file(images).items()) == [
        ("b.png", "007"), ("new/3.png", "kč"), ("a.png", "7")
    ]  # fmt: skip


ONE = "file,label\na.png,cat\n"
BAD = {
    "empty": ("", ("the columns file and label", "got an empty one")),
    "no header": ("a.png,cat\n", ("the columns file and label", "got a.png, cat")),
    "no label": ("file,class\na.png,cat\n", ("got file, class",)),
    "two labels": ("file,label,label\na.png,cat,dog\n", ("once each", "got file, label, label")),
    "semicolons": ("file;label\na.png;cat\n", ("got file;label", "commas between")),
    "a header alone": ("file,label\n\n", ("got a header alone",)),
    "empty label": (ONE + "b.png, \n", ("line 3", "a label for b.png, got none")),
    "no second cell": (ONE + "b.png\n", ("line 3", "a label for b.png, got none")),
    "empty name": (ONE + ",dog\n", ("line 3", "the name of a file, got none")),
    "twice": (ONE + "./a.png,cat\n", ("line 3", "each file once, got a.png again")),
    "contradiction": (ONE + "a.png,dog\n", ("one label for a.png", "contradict: cat and dog")),
    "missing": (ONE + "c.png,dog\nd.png,dog\n", ("2 of 3 that are missing (c.png, d.png)",)),
    "a folder": (ONE + "cat,dog\n", ("1 of 2 that are missing (cat)",)),
    "a long name": (ONE + 300 * "c" + ",dog\n", ("1 of 2 that are missing",)),
    "elsewhere": (ONE + "new/../../a.png,dog\n", ("line 3", "below", "put the CSV file above")),
    "absolute": (ONE + "/a.png,dog\n", ("line 3", "got /a.png")),
    "another folder": (
        "file,label\ncat/1.png,dog\ndog/2.png,dog\na.png,cat\n",
        ("labels that contradict folders: cat/1.png is dog;",),
    ),
    "other folders": (
        "file,label\ncat/1.png,dog\ndog/2.png,cat\n",
        ("labels that contradict folders: cat/1.png is dog, and 1 more",),
    ),
    "open quotes": ('file,label\n"a.png,cat\n', ("a CSV file in UTF-8",)),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_file_is_refused_in_one_line(images, case):
    text, words = BAD[case]
    images.write_text(text)
    refused_file(read_label_file, images, *words)


def test_another_encoding_is_refused(images):
    images.write_bytes("file,label\na.png,Bär\n".encode("latin-1"))
    refused_file(read_label_file, images, "a CSV file in UTF-8")


def test_folders_that_are_no_classes_contradict_nothing(images):
    images.write_text("file,label\ncat/1.png,cat\nnew/3.png,cat\ndog/2.png,tame\n")
    assert len(read_label_file(images)) == 3
