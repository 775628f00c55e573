"""Report pages: Markdown with tables and figures, and the same page as one self-contained HTML file.

Names that come from data are escaped, so they cannot introduce markup, links or scripts. The page's policy allows its
own style sheet, by its hash, and the images within the page, and nothing else.
"""

import base64
import contextlib
import contextvars
import hashlib
import html
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxdl import plots
from jaxdl.extras import needed
from jaxdl.runs import records
from jaxdl.runs.folder import Manifest
from jaxdl.texts import printable

with needed("a report", "plots"):
    from markdown_it import MarkdownIt
    from matplotlib.figure import Figure

CHART = "#chart"  # marks a figure that a dark page may invert
_ALSO: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("formats", default=())


@contextlib.contextmanager
def also(formats: Sequence[str]) -> Iterator[None]:
    """Save each figure in other formats as well, "svg" or "pdf"; the page shows the PNG."""
    token = _ALSO.set(tuple(formats))
    try:
        yield
    finally:
        _ALSO.reset(token)


def write(folder: Path, parts: Sequence[str]) -> Path:
    """Write ``report.md`` and ``report.html`` from parts in Markdown, and return the path of the latter."""
    text = "\n\n".join(parts) + "\n"
    records.write_whole(folder / "report.md", text)
    page = folder / "report.html"
    records.write_whole(page, _html(text, folder))
    return page


def made(manifest: Manifest, config: dict[str, Any]) -> list[str]:
    """Return the section on provenance: the commands, the rest of the manifest, the options."""
    rest = {name: value for name, value in manifest._asdict().items() if name not in ("command", "then")}
    recorded = [[words(k), shown(v)] for k, v in rest.items() if v is not None]
    options = [[words(k), shown(v)] for k, v in config.items() if k != "experiment"]
    return [
        "## How this was made",
        code("\n".join([manifest.command, *(manifest.then or ())]), "sh"),
        *([table(["recorded", "value"], recorded, left=2)] if recorded else []),
        "### Options",
        *([table(["option", "value"], options, left=2)] if options else ["None."]),
    ]


def code(text: str, language: str) -> str:
    """Return a Markdown block of code, with a fence that the text cannot close."""
    shown = printable(text, keep="\n")
    fence = "`" * (1 + max(2, *map(len, re.findall("`+", shown)), 0))
    return f"{fence}{language}\n{shown}\n{fence}"


def figure(folder: Path, name: str, drawn: Figure | bytes, alt: str, *, chart: bool = False) -> str:
    """Save a figure, or an animation, and return the Markdown that shows it.

    Args:
        folder: the run folder.
        name: of the file, without its suffix; characters that a file's name cannot have are replaced.
        drawn: the figure, or the bytes of a GIF.
        alt: a description for readers who do not see it.
        chart: whether it consists of lines and shades on white, which a dark page inverts; the address then ends in
            ``#chart``. Images keep their colours.
    """
    (folder / "figures").mkdir(exist_ok=True)
    encoded = {"gif": drawn} if isinstance(drawn, bytes) else {"png": plots.png(drawn)}
    file = f"{_file_name(name)}.{next(iter(encoded))}"
    if not isinstance(drawn, bytes):
        encoded |= {kind: plots.vector(drawn, kind) for kind in _ALSO.get()}
    for kind, content in encoded.items():
        records.write_whole(folder / "figures" / f"{_file_name(name)}.{kind}", content)
    return f"![{plain(alt)}](figures/{file}{CHART if chart else ''})"


def _file_name(name: str) -> str:
    """Return a name without folders; different names, such as of two problems, stay different."""
    short = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:100]
    digest = hashlib.sha256(name.encode(errors="backslashreplace")).hexdigest()
    return name if short == name else f"{short}-{digest[:8]}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Return a Markdown table of plain text: ``left`` columns aligned left, the others right."""
    rule = ["---" if i < left else "---:" for i in range(len(header))]
    lines = [[plain(cell) for cell in header], rule, *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain(text: str) -> str:
    """Escape a text for Markdown, on one line, so that it cannot introduce markup, links, images or HTML."""
    escaped = re.sub(r"([\\`*_\[\]<>|&~$#])", r"\\\1", printable(" ".join(text.split())))
    # the start of a list or of a line below a heading
    return re.sub(r"^(\d*)([-+=]|[.)](?!\S))", r"\1\\\2", escaped)


def words(name: str) -> str:
    """Return an identifier as words."""
    return name.replace("_", " ")


def rounded(value: Any) -> str:
    """Format a value like `shown`, floats with four digits."""
    return shown(value, ".4g")


def shown(value: Any, digits: str = "") -> str:
    """Format a value of a record for a reader; an undefined one is –.

    Args:
        value: a number, a text, a record, or dicts and lists of these.
        digits: format of floats; all digits by default.
    """
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return ", ".join(f"{k}: {shown(v, digits)}" for k, v in value.items()) or "–"
    if isinstance(value, list | tuple):
        return ", ".join(shown(v, digits) for v in value) or "–"
    if value is None or value != value:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return format(value, digits)
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)


def _html(text: str, folder: Path) -> str:
    """Render Markdown as one HTML file, with inline images, no script, and a policy that forbids loading anything."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(text)
    for token in tokens:
        if align := str(token.attrs.pop("style", "")):  # of a table's cell; the policy allows no attributes of style
            token.attrs["class"] = align.removeprefix("text-align:")
        for child in token.children or []:
            if child.type == "image":
                source = str(child.attrs["src"])
                path = folder / source.removesuffix(CHART)
                if path.name != Path(source).name:
                    child.attrs["class"] = CHART[1:]
                data = base64.b64encode(path.read_bytes()).decode()
                child.attrs["src"] = f"data:image/{path.suffix[1:]};base64,{data}"
    body = markdown.renderer.render(tokens, markdown.options, {})
    body = body.replace("<table>", '<div class="wide" tabindex="0"><table>').replace("</table>", "</table></div>")
    title = html.escape(tokens[1].children[0].content if tokens[1].children else "")
    allowed = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    return PAGE.format(allowed=allowed, title=title, style=STYLE, body=body)


STYLE = """
:root { color-scheme: light dark; }
:root { --line: light-dark(#d5d9de, #3a4048); --soft: light-dark(#f4f6f8, #1d2126); }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin-top: 2.4rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
h3 { font-size: 1.05rem; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { background: var(--soft); }
.right { text-align: right; }
td:not(:last-child) { white-space: nowrap; }
pre { background: var(--soft); padding: .7rem .9rem; overflow-x: auto; border-radius: 6px; }
code { font: .9rem/1.5 ui-monospace, monospace; }
img { max-width: 100%; height: auto; border-radius: 6px; }
p:has(img) { display: flex; flex-wrap: wrap; gap: 1rem; justify-content: center; }
p:has(img + img) img { flex: 1 1 22rem; min-width: 0; max-width: 30rem; align-self: start; }
@media (max-width: 40rem) {
  body { margin: 1rem auto; padding: 0 .7rem; }
  h1 { font-size: 1.3rem; }
}
@media screen and (prefers-color-scheme: dark) {
  img { filter: brightness(.85); }
  img.chart { filter: invert(.93) hue-rotate(180deg); }
}
@media print {
  :root { color-scheme: light; }
  body { max-width: none; margin: 0; padding: 0; font-size: 10pt; }
  h2, h3 { break-after: avoid; }
  img, tr, pre { break-inside: avoid; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  .wide { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding: .15rem .3rem; }
  td:not(:last-child) { white-space: normal; }
}
"""
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'sha256-{allowed}'; base-uri 'none'; form-action 'none'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}</body>
</html>
"""
