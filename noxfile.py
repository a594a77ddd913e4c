"""Runs by name: `nox -l` lists them, `nox -s lint` is one. `.ci/run` puts them together."""

import re
import shlex
import tempfile
from pathlib import Path

import nox

PYTHONS = nox.project.python_versions(nox.project.load_toml("pyproject.toml"))


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The README's test command, read out of it, with the newest versions that this Python gets."""
    found = re.search(
        r'^ +(pip install "\.\[test\]" && pytest -n auto)$',
        Path("README.md").read_text(),
        re.MULTILINE,
    )
    if not found:
        session.error("README.md has no test command")
    for command in found[1].split(" && "):
        session.run(*shlex.split(command))


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """The fast tests with the lowest versions that pyproject.toml allows."""
    session.install("uv")
    session.run("uv", "pip", "install", "--resolution", "lowest-direct", ".[test]")
    session.run("pytest", "-n", "auto", "-m", "not slow")


@nox.session(python=PYTHONS[0])
def constrained(session: nox.Session) -> None:
    """The equations, and runs of earlier versions, with the versions of the committed reports."""
    session.install(".[test]", "-c", "constraints/reports.txt")
    tests = "tests/test_parity.py tests/test_autoencoder.py tests/runs/test_old_runs.py"
    session.run("pytest", "-m", "not slow", *tests.split())


@nox.session
def audit(session: nox.Session) -> None:
    """Known vulnerabilities of the versions of the committed reports; needs the network."""
    session.install("pip-audit")
    session.run("pip-audit", "--disable-pip", "--no-deps", "-r", "constraints/reports.txt")


@nox.session
def lint(session: nox.Session) -> None:
    """Format, lint, imports that point down, types."""
    session.install(".[dev]")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("lint-imports", "--no-cache")
    session.run("pyright")


@nox.session
def docs(session: nox.Session) -> None:
    """The site, its pages at their reduced size."""
    session.install(".[docs]")
    command = "sphinx-build -W -q -c docs . site"
    session.run(*command.split(), env={"DAE_JAX_TUTORIAL": "quick"})


@nox.session
def package(session: nox.Session) -> None:
    """The sdist and the wheel: each alone, in an empty environment, trains outside the checkout."""
    session.install("uv")
    with tempfile.TemporaryDirectory() as folder:
        session.run("uv", "build", "--out-dir", folder)
        for archive in (*Path(folder).glob("*.tar.gz"), *Path(folder).glob("*.whl")):
            away = Path(folder, archive.name.removeprefix("dae_jax-"))
            away.mkdir()
            train = "python -m dae_jax.train --data mnist-sample --epochs 1"
            with session.chdir(away):
                session.run("uv", "run", "--isolated", "--with", str(archive), *train.split())
            if not list(away.glob("filters/filters_*.png")):
                session.error(f"{archive.name} drew no filters")
