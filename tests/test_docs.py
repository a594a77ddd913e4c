"""The reference shows every public name, and every public name says what it is."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import dae_jax

DOCS = Path(__file__).parent.parent / "docs"
MODULES = [
    name
    for _, name, is_folder in pkgutil.walk_packages(dae_jax.__path__, "dae_jax.")
    if not is_folder
]


def test_the_reference_shows_every_module_once():
    pages = [page.read_text() for page in (DOCS / "reference").glob("*.md")]
    shown = re.findall(r"^\.\. automodule:: (dae_jax[\w.]+)$", "\n".join(pages), re.M)
    assert sorted(shown) == sorted(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_has_a_docstring(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for called, value in vars(module).items():
        ours = getattr(value, "__module__", None) == module.__name__
        if called.startswith("_") or not ours:
            continue
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, f"{name}.{called}"
        if inspect.isclass(value):
            for part, method in vars(value).items():
                if inspect.isfunction(method) and not part.startswith("_"):
                    assert method.__doc__, f"{name}.{called}.{part}"


def test_the_glossary_links_to_names_that_are_there():
    text = (DOCS / "glossary.md").read_text()
    for kind, path in re.findall(r"\{(mod|func|class)\}`(dae_jax[\w.]+)`", text):
        if kind == "mod":
            importlib.import_module(path)
        else:
            module, _, called = path.rpartition(".")
            assert hasattr(importlib.import_module(module), called), path
