"""Formulas drawn by KaTeX when the site is built: readers need no script and no other server.

KaTeX comes from the npm registry once, is checked by its SHA-256, and is kept in the cache; Node
and npm come with the extra ``docs``. Its style and fonts become a part of the site.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

__all__ = ["package", "rendered", "setup"]

VERSION = "0.16.22"
SHA256 = "e9e0d167db3175481cbadaff38e8d90b130f6a3ddb451a47e43c577fd511f365"
PROGRAM = """
const katex = require(process.argv[1]);
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const [text, displayMode] = JSON.parse(line);
  try {
    console.log(JSON.stringify({ html: katex.renderToString(text, { displayMode }) }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error.message) }));
  }
});
"""
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}


@cache
def package() -> Path | None:
    """The folder of KaTeX's files; None if it cannot be had."""
    folder = Path(platformdirs.user_cache_dir("dae_jax"), f"katex-{VERSION}")
    if not folder.exists():
        with tempfile.TemporaryDirectory() as temporary:
            archive = Path(temporary, f"katex-{VERSION}.tgz")
            command = ["npm", "pack", "--silent", f"katex@{VERSION}"]
            try:
                subprocess.run(
                    command,
                    cwd=temporary,
                    env=ENVIRONMENT,
                    check=True,
                    capture_output=True,
                    timeout=60,
                )
            except (OSError, subprocess.SubprocessError):
                return None
            if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
                raise ExtensionError(f"katex@{VERSION} is another file than it was")
            with tarfile.open(archive) as files:
                files.extractall(temporary, filter="data")
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(Path(temporary, "package", "dist"), folder)
    return folder


@cache
def _server() -> subprocess.Popen[str]:
    command = ["node", "-e", PROGRAM, str(package() / "katex.min.js")]  # type: ignore[operator]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, env=ENVIRONMENT, text=True)


def rendered(text: str, *, block: bool) -> str:
    """The HTML of a formula.

    Args:
        text: In LaTeX. The lines of a block that has several are aligned.
        block: Whether it stands in a paragraph of its own.

    Raises:
        ExtensionError: KaTeX does not understand it.
    """
    text = text.strip()
    if block and ("&" in text or r"\\" in text) and not text.startswith(r"\begin"):
        text = rf"\begin{{aligned}}{text}\end{{aligned}}"
    process = _server()
    assert process.stdin is not None and process.stdout is not None
    print(json.dumps([text, block]), file=process.stdin, flush=True)
    answer = json.loads(process.stdout.readline())
    if "error" in answer:
        raise ExtensionError(f"{answer['error']} in the formula {text}")
    return answer["html"]


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(rendered(node.astext(), block=False))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="math">{rendered(node.astext(), block=True)}</div>')
    raise nodes.SkipNode


def _add_files(app: Sphinx, failure: Exception | None) -> None:
    """Copy the style and those fonts that browsers of today read."""
    if failure is None and (folder := package()) is not None:
        target = Path(app.outdir, "_static", "katex")
        (target / "fonts").mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "katex.min.css", target)
        for font in (folder / "fonts").glob("*.woff2"):
            shutil.copy(font, target / "fonts")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer under the name ``katex``."""
    app.add_html_math_renderer("katex", (_inline, None), (_block, None))
    app.connect("builder-inited", lambda app: app.add_css_file("katex/katex.min.css"))
    app.connect("build-finished", _add_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
