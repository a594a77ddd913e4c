"""Mutated files: what holds for every reader, and that the judge sees what does not."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dae_jax.errors import InputError
from tests.fuzz import campaign, mutations, readers
from tests.fuzz.cases import LONGEST
from tests.fuzz.mutations import Edit
from tests.fuzz.readers import Document, judged

KINDS = (
    *("idx, left", "npy, left", "npz, left", "shards, left"),
    *("idx", "idx.gz", "idx folder", "npy", "npy floats", "npz", "npz stored", "npz text labels"),
    *("pickle", "pickle.gz", "png", "jpeg", "gif", "tiff", "tiff lzw", "bmp"),
    *("csv table", "csv numbers", "csv labels", "parquet"),
    *("model classifier", "model classifier signed", "model dA", "model dA signed", "layer"),
    *("config.json train", "config.json pretrain", "config.json ladder", "report.json"),
    "metrics.jsonl",
)
EDITS = st.lists(
    st.builds(
        Edit,
        st.sampled_from(mutations.OPERATIONS),
        st.floats(0, 1, exclude_max=True),
        st.integers(1, 1024),
        st.integers(0, 2**31 - 1),
    ),
    min_size=1,
    max_size=3,
)
FEW = settings(
    max_examples=25,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def test_every_document_can_be_read_as_it_is(tmp_path: Path) -> None:
    documents = readers.documents()
    assert {kind for kind in documents if not kind.startswith("checkpoint")} == set(KINDS)
    for kind, document in documents.items():
        assert judged(kind, document, document.content, tmp_path).faults == (), kind


@pytest.mark.parametrize("kind", KINDS)
def test_an_edited_file_is_read_or_refused_in_one_line(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    document, folder = readers.documents()[kind], tmp_path_factory.mktemp("edited")

    @FEW
    @given(EDITS)
    def holds(changes: list[Edit]) -> None:
        content = mutations.apply(document.content, changes)
        assert judged(kind, document, content, folder).faults == ()

    holds()


# Orbax's threads complain when they are collected; the commands keep this away from the user.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_no_bit_of_a_checkpoint_can_flip_unnoticed(tmp_path: Path) -> None:
    for kind, document in readers.documents().items():
        if not kind.startswith("checkpoint"):
            continue
        for i in range(8):
            content = mutations.apply(document.content, [Edit("flip", i / 8 + 0.05, 1, i)])
            result = judged(kind, document, content, tmp_path)
            assert result.faults == (), (document.name, i, result.faults)


@pytest.mark.slow
def test_a_short_campaign_of_files_finds_nothing(shared: Path) -> None:
    done = campaign.run_cases([("readers", 17, case) for case in range(250)], shared)
    assert {one.case: one.result for one in done if one.result.faults} == {}


def test_a_case_is_the_same_for_the_same_seed() -> None:
    document = readers.documents()["npz"]
    contents = [
        readers.mutated(readers.generator(seed, "readers", 3), document)[0] for seed in (1, 1, 2)
    ]
    assert contents[0] == contents[1] != contents[2]


def document_read_by(read: Any, **others: Any) -> Document:
    return Document("own.bin", b"content", read, **others)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("two\nlines", "2 lines"),
        ("a \x1b[31mred one", "unprintable: U+001B"),
        ("x" * (LONGEST + 1), f"{LONGEST + 1} characters"),
    ],
)
def test_the_judge_reads_the_error(message: str, words: str, tmp_path: Path) -> None:
    raw = type("InputError", (Exception,), {})  # the real one mends its message

    def read(_: Path) -> None:
        raise raw(message)

    assert judged("own", document_read_by(read), b"", tmp_path).faults == (words,)


def test_the_judge_sees_other_exceptions_and_other_streams(tmp_path: Path) -> None:
    def raising(_: Path) -> None:
        raise KeyError("epoch")

    def printing(_: Path) -> None:
        os.write(2, b"libtiff: odd\n")
        raise InputError("a file")

    (fault,) = judged("own", document_read_by(raising), b"", tmp_path).faults
    assert fault.startswith("KeyError in")
    (fault,) = judged("own", document_read_by(printing), b"", tmp_path).faults
    assert fault == "beside the error: libtiff: odd"


def test_the_judge_measures_memory(tmp_path: Path) -> None:
    def greedy(_: Path) -> None:
        np.ones((5 << 30) // 32)  # 1.25 GiB

    if sys.platform != "linux":
        pytest.skip("the peak of a process's memory is in /proc")
    (fault,) = judged("own", document_read_by(greedy), b"", tmp_path).faults
    assert fault.endswith("GiB of memory")


def test_the_judge_compares_what_has_a_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = document_read_by(Path.read_bytes, exact=True)
    monkeypatch.setattr(readers, "documents", lambda: {"own": document})
    readers._original_by_kind.cache_clear()
    assert judged("own", document, b"content", tmp_path).faults == ()
    assert judged("own", document, b"kontent", tmp_path).faults == ("another content was accepted",)
    assert judged("own", document, b"kontent", tmp_path, signed=False).faults == ()
    readers._original_by_kind.cache_clear()
