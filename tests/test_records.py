"""Records are read by one reader, whose errors name file, field, expectation and value."""

import json
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import pytest

from dae_jax import records
from helpers import refused


@dataclass(frozen=True)
class Point:
    x: float
    names: tuple[str, ...] = ()


class Row(TypedDict):
    epoch: int


def test_a_record_becomes_its_type(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"x": 1, "names": ["a", "b"], "more": null}')
    assert records.load(path, Point) == Point(1.0, ("a", "b"))
    assert records.load(path, dict[str, Any])["more"] is None
    assert records.parse('{"epoch": 3}', Row, "it") == {"epoch": 3}
    assert records.parse("NaN", float, "it") != 0  # as json.dumps writes it


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        ("", Point, "a.json: expected JSON"),
        (bytes(9), Point, "a.json: expected JSON"),
        (b"\xff\xfe{", Point, "a.json: expected JSON"),
        ("[" * 10**5, Point, "too deeply"),
        ('{"a":' * 10**5, dict[str, Any], "too deeply"),
        ("[1]", Point, "a.json: expected object, got array"),
        ("{}", Point, "a.json: expected a field x, got none"),
        ('{"x": "1"}', Point, "x in a.json: expected float, got str"),
        ('{"x": true}', Point, "x in a.json: expected float, got bool"),
        ('{"x": 1, "names": ["a", 2]}', Point, "names[1] in a.json: expected str, got int"),
        ('{"epoch": 1.5}', Row, "epoch in a.json: expected int, got float"),
        ('{"epoch": 1e999}', Row, "epoch in a.json: expected int"),
        ("9" * 10**5, int, "a.json"),
        (r'"\ud800"', Literal["a"], "a.json"),
    ],
)
def test_anything_else_is_refused_with_its_place(tmp_path, monkeypatch, content, kind, words):
    monkeypatch.chdir(tmp_path)
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "a.json").write_bytes(content)
    refused(lambda: records.load("a.json", kind, "do this"), words, "do this")


def test_a_file_that_cannot_be_read_or_is_too_large_is_refused(tmp_path, monkeypatch):
    refused(lambda: records.load(tmp_path / "none", Point), "cannot read", "none")
    refused(lambda: records.load(tmp_path, Point), "cannot read")
    refused(lambda: records.load("x" * 300, Point), "cannot read", "too long")
    monkeypatch.setattr(records, "LARGEST", 20)
    path = tmp_path / "a.json"
    path.write_text(json.dumps("x" * 18))
    assert records.load(path, str) == "x" * 18
    path.write_text(json.dumps("x" * 19))
    refused(lambda: records.load(path, str), "a.json", "at most 20 bytes")
