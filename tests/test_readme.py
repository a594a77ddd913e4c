"""The README is true: its Python runs, and its commands are commands."""

import re
import shlex
from pathlib import Path

import pytest

from dae_jax import command, config
from dae_jax.train import PROG

README = (Path(__file__).parent.parent / "README.md").read_text()
COMMANDS = re.findall(rf"^ {{4}}(?:.*&& )?{PROG} (.*?)(?: +#.*)?$", README, re.MULTILINE)


def test_the_python_in_the_readme_runs():
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict = {}
    exec(compile(block, "README.md", "exec"), names)
    assert names["gradient"].W.shape == (784, 500)
    assert float(names["cost"]) > 0


def test_there_are_commands_in_the_readme():
    assert len(COMMANDS) > 5


@pytest.mark.parametrize("flags", COMMANDS)
def test_the_commands_in_the_readme_are_understood(flags):
    if flags != "--help":
        config.validate(command.parse(config.Config, shlex.split(flags), PROG))


def test_the_pictures_in_the_readme_are_there():
    for path in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (Path(__file__).parent.parent / path).exists(), path
