"""Hooks of mkdocs: pages that are not in this folder, and links out of it.

The reference gets one page per public package, in which names in code lead to each other. `benchmarks/*.md`,
CHANGELOG.md and CONTRIBUTING.md become pages, too. A link to a source file becomes its path as code, because the site
shows no sources.
"""

import ast
import functools
import pathlib
import posixpath
import re
from collections.abc import Iterator
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = pathlib.Path(__file__).parents[1]
# tools of the library's own, which a user need not know
PRIVATE = {"compat", "counterparts", "disk", "extras", "numerics", "paths", "texts", "words"}
BESIDE = ("CHANGELOG.md", "CONTRIBUTING.md")
# what the search puts first: pages of answers before the reference, and there functions before the library's insides
BOOST = {
    **{"coming_from.md": 3, "faq.md": 4, "mistakes.md": 2, "beside_other_trainers.md": 0.7, "lectures.md": 0.2},
    **dict.fromkeys(("adding.md", "architecture.md", "parts.md", "results.md", "gallery.md"), 0.5),
}
INSIDES = ("backprop", "compare", "demonstrations", "kernels", "primitives", "runs", "studies")


def source_of(name: str) -> pathlib.Path:
    """Return the file of a module by its name within jaxdl."""
    place = ROOT / "jaxdl" / name.replace(".", "/")
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


@functools.cache
def module(name: str) -> ast.Module:
    """Return the parsed source of a module."""
    return ast.parse(source_of(name).read_text(encoding="utf-8"))


@functools.cache
def public_names(name: str) -> dict[str, str]:
    """Return the names that users import from a package, each with the path of what it is bound to.

    They are its `__all__`, else all functions without an underscore.
    """
    tree, bound = module(name), {}
    public = [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            bound |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        if isinstance(node, ast.Assign) and any(getattr(target, "id", None) == "__all__" for target in node.targets):
            public = ast.literal_eval(node.value)
    return {one: defined(bound.get(one, f"jaxdl.{name}.{one}")) for one in public}


def defined(path: str) -> str:
    """Follow imports to the definition."""
    owner, _, name = path.removeprefix("jaxdl.").rpartition(".")
    if not path.startswith("jaxdl.") or not owner or not source_of(owner).is_file():
        return path
    for node in module(owner).body:
        if isinstance(node, ast.ImportFrom) and name in (alias.asname or alias.name for alias in node.names):
            own = f"jaxdl.{owner}"
            return path if node.module == own else defined(f"{node.module}.{name}")
    return path


def is_module(path: str) -> bool:
    """Return whether a path is that of a module of jaxdl."""
    return path.startswith("jaxdl.") and source_of(path.removeprefix("jaxdl.")).is_file()


@functools.cache
def packages() -> list[str]:
    """Return the public packages and modules in alphabetical order, those within others by their full path."""
    found = [path.stem for path in (ROOT / "jaxdl").glob("*.py")]
    found += [path.parent.name for path in (ROOT / "jaxdl").glob("*/__init__.py")]
    found = sorted({*found} - {"__init__"} - PRIVATE)
    inner = {path.removeprefix("jaxdl.") for name in found for path in public_names(name).values() if is_module(path)}
    return sorted({*found, *inner})


@functools.cache
def places() -> dict[str, str]:
    """Return the page, with its anchor, of each public name `PACKAGE.NAME` and of each package."""
    found = {name: f"reference/{name}.md" for name in packages()}
    for name in packages():
        for one, path in public_names(name).items():
            if is_module(path):
                found.setdefault(f"{name}.{one}", f"reference/{path.removeprefix('jaxdl.')}.md")
            elif path.startswith("jaxdl."):
                found.setdefault(f"{name}.{one}", f"reference/{name}.md#{path}")
    return found


def reference() -> dict[str, str]:
    """Return the text of each page of the reference by its path."""
    said = {name: (ast.get_docstring(module(name)) or "").partition("\n")[0] for name in packages()}
    rows = "\n".join(f"| [`jaxdl.{name}`]({name}.md) | {said[name]} |" for name in packages())
    head = (
        "# Reference\n\nEvery public name, by the package that users import it from. Examples assume\n"
        "`import jax, optax`, `import jax.numpy as jnp`, `import numpy as np` and the package itself.\n\n"
        "| package | |\n|---|---|\n"
    )
    pages = {f"reference/{name}.md": "\n\n".join(reference_page(name)) + "\n" for name in packages()}
    return pages | {"reference/index.md": head + rows + "\n"}


def reference_page(name: str) -> Iterator[str]:
    """Yield the parts of one page: the module's docstring, then each name where it is defined."""
    yield f"# jaxdl.{name}"
    yield f"::: jaxdl.{name}\n    options: {{members: false, show_root_heading: false, show_root_toc_entry: false}}"
    for one, path in sorted(public_names(name).items(), key=lambda item: item[0].lower()):
        if is_module(path):
            yield f"`{one}` is a module: [{path}]({path.removeprefix('jaxdl.')}.md)."
        elif not path.startswith("jaxdl."):
            yield f"`{one}` is that of {path.partition('.')[0]}."
        else:
            # the comments on a NamedTuple's fields have their shapes and dtypes
            yield f"::: {path}\n    options: {{show_source: {str(one[:1].isupper() and not one.isupper()).lower()}}}"


def beside() -> dict[str, pathlib.Path]:
    """Return the path of each file outside of docs/ that becomes a page, by the path of the page."""
    paths = {f"benchmarks/{path.name}": path for path in sorted((ROOT / "benchmarks").glob("*.md"))}
    return {**paths, **{f"project/{name.lower()}": ROOT / name for name in BESIDE}}


@functools.cache
def measured() -> set[str]:
    """Return the experiments whose claims the page of results has, each under a heading of its own."""
    text = (ROOT / "docs/results.md").read_text(encoding="utf-8")
    return {name.replace("\\", "") for name in re.findall(r"^## ([\w\\]+)$", text, re.M)}


def boost(source: str) -> float:
    """Return the factor by which the search weighs a page."""
    folder, _, name = source.rpartition("/")
    if folder == "reference":
        return 0.5 if name.startswith(INSIDES) else 1
    return 0.5 if folder in ("benchmarks", "project") else BOOST.get(source, 2)


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages, and the figures of benchmarks/."""
    for path, text in reference().items():
        files.append(File.generated(config, path, content=text))
    for path, source in beside().items():
        files.append(File.generated(config, path, content=source.read_text(encoding="utf-8")))
    for figure in sorted((ROOT / "benchmarks").glob("*.png")):
        files.append(File.generated(config, f"benchmarks/{figure.name}", abs_src_path=str(figure)))
    return files


def on_config(config: Any) -> Any:
    """Put the generated pages into the navigation."""
    by_name = {next(iter(section)): next(iter(section.values())) for section in config.nav}
    by_name["Reference"] += [{f"jaxdl.{name}": f"reference/{name}.md"} for name in packages()]
    by_name["Results"].append({"Benchmarks": [path for path in beside() if path.startswith("benchmarks/")]})
    by_name["Project"] += [path for path in beside() if path.startswith("project/")]
    return config


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead links out of docs/ to their page here, or show the path alone."""
    source = page.file.src_uri
    page.meta["search"] = {"boost": boost(source)}
    origin = beside().get(source)
    here = posixpath.dirname(origin.relative_to(ROOT).as_posix() if origin else posixpath.join("docs", source))
    pages = {path.relative_to(ROOT).as_posix(): page for page, path in beside().items()} | {"README.md": "index.md"}

    def lead(match: re.Match) -> str:
        shown, target, anchor = match[1], match[2], match[3] or ""
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(here, target))
        if path.startswith("jaxdl/") and shown.strip("`") in places():
            page, _, anchor = places()[shown.strip("`")].partition("#")
            return f"[{shown}]({posixpath.relpath(page, posixpath.dirname(source) or '.')}{anchor and f'#{anchor}'})"
        name = path.removeprefix("experiments/").partition("/")[0].removesuffix(".py")
        if path.startswith("experiments/") and name in measured() and source != "results.md":
            return f"[{shown}]({posixpath.relpath('results.md', posixpath.dirname(source) or '.')}#{name})"
        if path.startswith("docs/") and not path.endswith(".py"):
            path = path.removeprefix("docs/")
        elif path in pages:
            path = pages[path]
        elif not path.endswith((".png", ".gif")):
            return shown if "`" in shown else f"`{shown}`" if " " not in shown else f"{shown} (`{path}`)"
        return f"[{shown}]({posixpath.relpath(path, posixpath.dirname(source) or '.')}{anchor})"

    # a file's name behind the language, as in docs/adding.md, is no valid opening of a block for mkdocs
    titled = re.sub(r"^```(\w+) (\S+)$", r'```\1 title="\2"', markdown, flags=re.M)
    return re.sub(r"(?<!`)\[([^\]]+)\]\(([^)#\s]+)(#[^)]*)?\)", lead, titled)


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Let names in the code of docstrings lead to their place in the reference."""
    source = page.file.src_uri
    if not source.startswith("reference/"):
        return html
    package = posixpath.basename(source).removesuffix(".md")

    def lead(match: re.Match) -> str:
        name = match[1].removeprefix("jaxdl.")
        place = places().get(f"{package}.{name}") or places().get(name)
        if place is None:
            return match[0]
        target = posixpath.basename(place).replace(".md", ".html")
        return f'<a href="{target}">{match[0]}</a>'

    parts = re.split(r"(<(?:h\d|a|pre)\b.*?</(?:h\d|a|pre)>)", html, flags=re.S)
    parts[::2] = [re.sub(r"<code>([\w.]+)</code>", lead, part) for part in parts[::2]]
    return "".join(parts)
