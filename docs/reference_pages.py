"""The pages of the reference, generated from the package: one per group of modules.

A folder of the package is a group. The modules at its root are grouped here, by their purpose;
nothing else is listed by hand. Of each module, the names in ``__all__`` are shown, in the order of
the source.
"""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import dae_jax


class Group(NamedTuple):
    """Modules at the root that share a page, or a folder."""

    page: str  # its name; for a folder, that of the folder
    title: str = ""
    about: str = ""
    root: tuple[str, ...] = ()  # the modules, in order; none for a folder

    @property
    def modules(self) -> list[str]:
        """The full names of the modules, without the folder itself."""
        if self.root:
            return [f"dae_jax.{name}" for name in self.root]
        folder = importlib.import_module(f"dae_jax.{self.page}")
        inside = pkgutil.walk_packages(folder.__path__, f"{folder.__name__}.")
        return [name for _, name, _ in inside]


GROUPS = (
    Group(
        "equations",
        "The equations",
        "what the tutorial teaches",
        ("autoencoder", "corruption", "objectives", "stacked", "deep", "supervised", "ladder"),
    ),
    Group(
        "learn_and_judge",
        "Learn and judge",
        "the one training loop; evaluation",
        ("training", "early_stopping", "evaluation"),
    ),
    Group(
        "commands",
        "Commands",
        "python -m dae_jax.NAME",
        ("__main__", "train", "pretrain", "predict", "transform", "export", "reproduce"),
    ),
    Group(
        "shared_ground",
        "Shared ground",
        "small helpers",
        ("tutorial", "console", "processes", "rows", "files", "memory", "records", "errors"),
    ),
    Group("estimators"),
    Group("datasets"),
    Group("figures"),
    Group("settings"),
    Group("runs"),
    Group("experiments"),
)


def all_modules() -> list[str]:
    """The full names of all modules and folders of the package."""
    return [name for _, name, _ in pkgutil.walk_packages(dae_jax.__path__, "dae_jax.")]


def check() -> None:
    """Check that every module is in one group.

    Raises:
        ValueError: One is in none or in several, or a group names one that does not exist.
    """
    grouped = [name for group in GROUPS for name in group.modules]
    grouped += [f"dae_jax.{group.page}" for group in GROUPS if not group.root]
    if sorted(grouped) != sorted(all_modules()):
        differing = sorted(set(grouped) ^ set(all_modules()))
        raise ValueError(
            f"docs/reference_pages.py: each module has to be in one group; see {differing}"
        )


def pages() -> dict[str, str]:
    """The text of every generated file, by its name."""
    check()
    return {f"{group.page}.rst": _page(group) for group in GROUPS} | {"tree.txt": tree()}


def tree() -> str:
    """The package as a tree, with one line per group."""
    lines = ["dae_jax/"]
    for group in GROUPS:
        names = " ".join(name.split(".")[-1] for name in group.modules)
        lines.append(
            f"  {names:67}{group.about}" if group.root else f"  {group.page + '/':15}{names}"
        )
    return "\n".join(lines) + "\n"


def write(folder: Path) -> None:
    """Write the pages that have changed, and remove those of groups that are gone."""
    folder.mkdir(exist_ok=True)
    texts = pages()
    for path in folder.iterdir():
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def _page(group: Group) -> str:
    modules = list(map(importlib.import_module, group.modules))
    if group.root:
        parts = [_heading(group.title, "="), f"{group.about[0].upper()}{group.about[1:]}."]
    else:
        folder = importlib.import_module(f"dae_jax.{group.page}")
        parts = [_heading(group.page, "="), _automodule(folder), *_face(folder, modules)]
    parts.append("\n".join(f"- :mod:`~{m.__name__}`: {_first_line(m)}" for m in modules))
    for module in modules:
        parts += [_heading(module.__name__.split(".")[-1], "-"), _automodule(module)]
        parts += [_member(module, name, code) for name, code in in_source_order(module).items()]
    return "\n\n".join(parts) + "\n"


def _heading(text: str, underline: str) -> str:
    return f"{text}\n{underline * len(text)}"


def _automodule(module: ModuleType) -> str:
    """The docstring of a module; its names are listed one by one, see `in_source_order`."""
    return f".. automodule:: {module.__name__}\n   :no-members:"


def in_source_order(module: ModuleType) -> dict[str, str]:
    """The names in a module's ``__all__`` in the order of the source, each with its statement.

    Sphinx sorts them by ``__all__``, which is alphabetical, and leaves out undocumented constants.
    A constant's docstring, the string below it, belongs to its statement here.
    """
    source = inspect.getsource(module)
    statements: dict[str, str] = {}
    previous: list[str] = []
    for statement in ast.parse(source).body:
        names, code = [], ast.get_source_segment(source, statement) or ""
        if isinstance(statement, ast.ClassDef | ast.FunctionDef):
            names = [statement.name]
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            nodes = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
            names = [node.id for node in nodes if isinstance(node.ctx, ast.Store)]
        elif isinstance(statement, ast.Expr) and code.endswith('"""'):
            statements |= {name: f"{statements[name]}\n{code}" for name in previous}
        previous = [name for name in names if name in getattr(module, "__all__", ())]
        statements |= dict.fromkeys(previous, code)
    return statements


def _member(module: ModuleType, name: str, code: str) -> str:
    value = getattr(module, name)
    if isinstance(value, type):
        kind = "exception" if issubclass(value, BaseException) else "class"
    elif inspect.isfunction(inspect.unwrap(value)):
        kind = "function"
    elif code.endswith('"""'):
        kind = "data"
    else:  # autodata would show the docstring of the value's type
        return f".. py:data:: {name}\n   :module: {module.__name__}"
    return f".. auto{kind}:: {module.__name__}.{name}"


def _face(folder: ModuleType, modules: list[ModuleType]) -> list[str]:
    """A sentence with the names that a folder re-exports, linked to where they are documented."""
    home = {name: m.__name__ for m in modules for name in getattr(m, "__all__", ())}
    names = [f":py:obj:`~{home[name]}.{name}`" for name in getattr(folder, "__all__", ())]
    return [f"``{folder.__name__}`` itself has {', '.join(names)}."] if names else []


def _first_line(module: ModuleType) -> str:
    return (module.__doc__ or "").strip().splitlines()[0]
