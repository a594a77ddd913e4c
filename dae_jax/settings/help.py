"""``--help``: the few flags that matter first, the others under "advanced"; ``-h``: only the first.

The first flags are those that the `first_flags` of the settings names. The flags themselves, their
types and their help texts are those of the dataclasses of settings, whose groups stay as they are.
"""

import ast
import inspect
import sys
import textwrap
from dataclasses import dataclass, fields, is_dataclass, make_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import tyro
from tyro.conf import arg

__all__ = ["as_typed", "show"]


def as_typed(prog: str) -> str:
    """The name of a command, or of the list of all commands, as the user has typed it.

    Args:
        prog: ``python -m dae_jax.NAME``, as messages and records name the command, or ``python -m
            dae_jax``. Another name is returned as it is.
    """
    module, dot, name = prog.partition(".")
    script = Path(sys.argv[0])
    if module != "python -m dae_jax":
        return prog
    if script.stem == "dae-jax":
        return f"dae-jax {name}".rstrip()
    if dot and script.stem == f"dae-jax-{name}":
        return script.stem
    if script.parts[-2:] == ("dae_jax", "__main__.py"):
        return f"{module} {name}".rstrip()
    return prog


def show(kind: type[Any], default: Any, *, short: bool) -> None:
    """Print the flags of a command and exit.

    Args:
        kind: A dataclass of settings with `prog` and `first_flags`.
        default: Settings whose values are shown as the defaults.
        short: Whether to leave the advanced flags out.
    """
    prog = as_typed(kind.prog)
    flags = _flags(kind, default)
    first = [flags.pop(name) for name in kind.first_flags]
    groups: dict[str, list[_Flag]] = {}
    for flag in flags.values():
        groups.setdefault(flag.group, []).append(flag)
    shown: list[Any] = [flag.field for flag in first]
    for group, own in groups.items():
        title = arg(name=f"advanced: {group}" if group else "advanced")
        inner = make_dataclass(group or "advanced", [flag.field for flag in own], frozen=True)
        inner.__doc__ = own[0].about if group else "Flags that are seldom needed."
        if not short:
            shown.append((f"advanced_{group}", Annotated[inner, title], inner()))
    about = inspect.cleandoc(kind.__doc__ or "").replace(kind.prog, prog)
    more = (
        f"{len(flags)} more flags: {prog} --help"
        if short
        else "-h shows the first flags only. A switch such as --debug is turned off by --no-debug."
    )
    tyro.cli(
        make_dataclass("Flags", shown),
        prog=prog,
        description=f"{about}\n{more}",
        args=["--help"],
        config=(tyro.conf.OmitArgPrefixes,),
    )


@dataclass(frozen=True)
class _Flag:
    """A flag: the field that tyro makes it of, and its group and what that is about."""

    field: tuple[str, Any, Any]  # name, type, default
    group: str
    about: str | None


def _flags(kind: type[Any], values: Any, group: str = "") -> dict[str, _Flag]:
    """All flags of settings by name, those of their groups, too."""
    flags: dict[str, _Flag] = {}
    hints, texts = get_type_hints(kind, include_extras=True), _texts(kind)
    for part in fields(kind):
        value = getattr(values, part.name)
        if is_dataclass(value):
            flags |= _flags(type(value), value, part.name)
            continue
        hint = Annotated[hints[part.name], arg(help=texts[part.name])]
        if value is False:  # a switch: its name says enough
            hint = tyro.conf.FlagCreatePairsOff[Annotated[hint, arg(help_behavior_hint="")]]
        flags[part.name] = _Flag((part.name, hint, value), group, kind.__doc__)
    return flags


def _texts(kind: type[Any]) -> dict[str, str]:
    """The help text of each field: the string below it, in one line."""
    texts: dict[str, str] = {}
    for owner in reversed(kind.__mro__[:-1]):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        assert isinstance(definition, ast.ClassDef)
        for field, below in pairwise(definition.body):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                texts[field.target.id] = " ".join(str(below.value.value).split())
    return texts
