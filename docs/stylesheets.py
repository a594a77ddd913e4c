"""One stylesheet for the site instead of six, so that a page is drawn after one request."""

import hashlib
import re
from pathlib import Path

from sphinx.application import Sphinx

__all__ = ["bundle", "setup"]

LINKS = re.compile(
    r'(?:<link rel="stylesheet" type="text/css" href="[^":]*_static/(?!all-)[^"?]+\.css[^"]*" />'
    r"\s*)+"
)
LINK = re.compile(r'href="([^":]*_static/)([^"?]+\.css)')


def bundle(static: Path, names: tuple[str, ...]) -> str:
    """The text of some stylesheets, in order, whose addresses begin in the folder of all.

    Text stands in another font while those of formulas are loaded. The first line has the names.
    """
    parts = [f"/* {' '.join(names)} */"]
    for name in names:
        folder = Path(name).parent.as_posix()
        before = "" if folder == "." else f"{folder}/"
        text = (static / name).read_text()
        text = re.sub(r'url\((["\']?)(?![\w+]+:|/|#|["\'])', rf"url(\1{before}", text)
        parts.append(text.replace("font-display:block", "font-display:swap"))
    return "\n".join(parts)


def _join(app: Sphinx, failure: Exception | None) -> None:
    if failure or app.builder.name != "html":
        return
    static = Path(app.outdir, "_static")
    # Those of pages that were not written again, too.
    names_of = {
        path.name: tuple(path.read_text().splitlines()[0].split()[1:-1])
        for path in static.glob("all-*.css")
    }

    def joined(found: re.Match[str]) -> str:
        links = LINK.findall(found[0])
        names = tuple(name for _, name in links)
        file = f"all-{hashlib.sha256(' '.join(names).encode()).hexdigest()[:8]}.css"
        names_of[file] = names
        return f'<link rel="stylesheet" type="text/css" href="{links[0][0]}{file}" />\n'

    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text()
        changed = LINKS.sub(joined, text, count=1)
        if changed != text:
            page.write_text(changed)
    for file, names in names_of.items():
        (static / file).write_text(bundle(static, names))


def setup(app: Sphinx) -> dict[str, bool]:
    """Join the stylesheets when everything is written."""
    app.connect("build-finished", _join, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
