"""`python -m dae_jax` and `dae-jax`: the list of commands, dispatch, errors in one line."""

import subprocess
import sys
import tomllib

import pytest

from dae_jax import __main__ as commands
from dae_jax import __version__, console
from helpers import ROOT, assert_one_line


@pytest.fixture
def typed(monkeypatch, capsys):
    """Run the list of commands under a name, as typed in a shell: status, output, complaint."""

    def typed(name, *argv):
        monkeypatch.setattr(sys, "argv", [name, *argv])
        return console.run(commands.main), *capsys.readouterr()

    return typed


@pytest.mark.parametrize("argv", [[], ["-h"], ["--help"]])
def test_the_list_has_one_line_per_command_and_an_example(typed, argv):
    status, out, err = typed("/usr/bin/dae-jax", *argv)
    assert (status, err) == (0, "")
    for name, words in commands.COMMANDS.items():
        (line,) = [line for line in out.splitlines() if line.split()[:1] == [name]]
        assert line.endswith(words) and len(line) <= 80
    assert "dae-jax train --corruption 0.3" in out


def test_every_command_is_listed_and_has_a_console_script():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    names = ["dae-jax", *(f"dae-jax-{name}" for name in commands.COMMANDS)]
    assert scripts == dict.fromkeys(names, "dae_jax.console:cli")


def test_the_version(typed):
    assert typed("dae-jax", "--version") == (0, f"dae_jax {__version__}\n", "")


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_a_command_gets_its_flags_and_its_help_has_the_name_that_was_typed(monkeypatch, name):
    monkeypatch.setattr(sys, "argv", ["/bin/dae-jax", name, "--no-such-flag"])
    with pytest.raises(ValueError, match=f"see dae-jax {name} --help"):
        commands.main([name, "--no-such-flag"])


def test_the_status_is_that_of_the_command(typed, monkeypatch):
    monkeypatch.setattr("dae_jax.reproduce.main", lambda argv: 3 if argv == ["--check"] else 0)
    assert typed("dae-jax", "reproduce", "--check")[0] == 3


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["trian"], "did you mean train?"),
        (["frobnicate"], "see dae-jax --help"),
        (["--corruption", "0.3"], "did you mean dae-jax train --corruption 0.3?"),
        (["--data", "my images"], "did you mean dae-jax train --data 'my images'?"),
    ],
)
def test_anything_else_is_one_line_with_a_suggestion(typed, argv, words):
    status, out, err = typed("dae-jax", *argv)
    assert (status, out) == (2, "")
    assert_one_line(err, words)


def test_python_dash_m_lists_the_commands_without_jax():
    code = (
        "import runpy, sys\n"
        "sys.argv = ['dae_jax']\n"
        "try:\n"
        "    runpy.run_module('dae_jax', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code\n"
        "assert not {'jax', 'numpy', 'matplotlib'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: python -m dae_jax COMMAND" in done.stdout


def test_debug_shows_the_traceback():
    with pytest.raises(ValueError, match="did you mean"):
        console.run(commands.main, ["trian", "--debug"])
