"""The generated reference shows every public name, and every public name has a docstring."""

import ast
import importlib
import importlib.util
import re
from collections import Counter
from pathlib import Path

import pytest

import dae_jax
from dae_jax.experiments import reports
from dae_jax.experiments.catalogue import EXPERIMENTS
from helpers import ROOT, script

DOCS = Path(__file__).parent.parent / "docs"
SOURCES = sorted(Path(dae_jax.__path__[0]).rglob("*.py"))


reference_pages = script(DOCS / "reference_pages.py")
PAGES = reference_pages.pages()
FOLDERS = [
    name
    for name in reference_pages.all_modules()
    if hasattr(importlib.import_module(name), "__path__")
]
MODULES = [name for name in reference_pages.all_modules() if name not in FOLDERS]


def name_of(path):
    return str(path.relative_to(Path(dae_jax.__path__[0]).parent))


def test_the_reference_shows_every_module_once():
    shown = re.findall(r"^\.\. automodule:: (dae_jax[\w.]+)$", "\n".join(PAGES.values()), re.M)
    assert sorted(shown) == sorted(reference_pages.all_modules())


def test_the_reference_shows_every_public_name_once_and_where_it_is_defined():
    text = "\n".join(PAGES.values())
    shown = re.findall(r"^\.\. auto(?:class|data|exception|function):: ([\w.]+)$", text, re.M)
    bare = re.findall(r"^\.\. py:data:: (\w+)\n   :module: ([\w.]+)$", text, re.M)
    shown += [f"{module}.{name}" for name, module in bare]
    public = [f"{m}.{name}" for m in MODULES for name in importlib.import_module(m).__all__]
    assert sorted(shown) == sorted(public)


def test_the_reference_lists_the_pages_in_order():
    listed = re.findall(r"^reference/(\w+)$", (DOCS / "reference.md").read_text(), re.M)
    assert listed == [group.page for group in reference_pages.GROUPS]


def test_the_tree_has_a_line_for_every_group():
    lines = PAGES["tree.txt"].splitlines()
    assert lines[0] == "dae_jax/"
    assert len(lines) == 1 + len(reference_pages.GROUPS)
    words = {word.rstrip("/") for line in lines for word in line.split()}
    assert {name.split(".")[-1] for name in reference_pages.all_modules()} <= words


def test_a_module_in_no_group_is_an_error(monkeypatch):
    monkeypatch.setattr(reference_pages, "GROUPS", reference_pages.GROUPS[:-1])
    with pytest.raises(ValueError, match=r"dae_jax\.experiments"):
        reference_pages.pages()


def test_writing_the_reference_removes_old_pages_and_keeps_those_that_are_the_same(tmp_path):
    folder = tmp_path / "reference"
    reference_pages.write(folder)
    (folder / "old.rst").write_text("")
    (folder / "runs.rst").write_text("changed")
    before = (folder / "equations.rst").stat().st_mtime_ns
    reference_pages.write(folder)
    assert {path.name: path.read_text() for path in folder.iterdir()} == PAGES
    assert (folder / "equations.rst").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", MODULES)
def test_all_lists_names_that_exist(name):
    module = importlib.import_module(name)
    assert module.__all__ == list(dict.fromkeys(module.__all__))
    assert all(hasattr(module, public) for public in module.__all__)


@pytest.mark.parametrize("name", ["dae_jax", *FOLDERS])
def test_a_folder_re_exports_names_that_exist(name):
    folder = importlib.import_module(name)
    assert all(hasattr(folder, public) for public in getattr(folder, "__all__", ()))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_public_name_has_a_docstring(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    assert not undocumented(tree.body)


def undocumented(body, prefix=""):
    """The public classes, functions, methods and properties of a body without a docstring."""
    names = []
    for node in body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
            continue
        if "overload" in map(ast.unparse, node.decorator_list):
            continue  # the implementation has it
        if not ast.get_docstring(node):
            names.append(prefix + node.name)
        if isinstance(node, ast.ClassDef):
            names += undocumented(node.body, f"{prefix}{node.name}.")
    return names


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_docstring_begins_with_what(path):
    strings = [
        node.value.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Expr)  # of a module, class or function, or below an attribute
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]
    assert not [text for text in strings if re.match(r"\s*what\b", text, re.IGNORECASE)]


def test_the_first_page_counts_the_verdicts_of_the_committed_reports():
    existing = reports.read(EXPERIMENTS, ROOT / "results")
    verdicts = Counter(
        row.verdict for row in reports.rows(EXPERIMENTS, existing) if row.claim.kind == "reproduced"
    )
    text = " ".join((ROOT / "docs" / "index.md").read_text().split())
    assert f"Of [{verdicts.total()} published numbers](results.md)" in text
    words = "{agrees} agree with ours, {better} of ours is better and {worse} are worse"
    assert words.format(**verdicts) in text


def test_the_glossary_links_to_names_that_exist():
    text = (DOCS / "glossary.md").read_text()
    links = re.findall(r"\{(mod|func|class)\}`(dae_jax[\w.]+)`", text)
    assert links
    for kind, path in links:
        if kind == "mod":
            importlib.import_module(path)
        else:
            module, _, name = path.rpartition(".")
            assert name in importlib.import_module(module).__all__, path


def test_every_promise_names_tests_that_are_there():
    page = (ROOT / "docs/robustness.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ") and "Promise" not in line]
    named = [re.findall(r"`(tests/[\w/]+\.py)`", row) for row in rows]
    assert rows and all(named)
    assert [path for paths in named for path in paths if not (ROOT / path).exists()] == []
