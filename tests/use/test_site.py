"""The documentation site: complete navigation, a strict build, every public name, nothing loaded from elsewhere."""

import importlib
import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"
CONFIG = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
PAGES = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}


def test_every_page_is_in_the_navigation_once():
    listed = re.findall(r"^ +- (?:\w+: )?(\S+\.md)$", CONFIG.partition("\nnav:")[2], re.M)
    assert sorted(listed) == sorted({*PAGES, "reference/index.md"})


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_lead_to_files_and_headings(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    for target, anchor in re.findall(r"(?<!`)\[[^\]]+\]\((?!\w+:)([^)#\s]*)(#[^)]*)?\)", text):
        path = (DOCS / page).parent / target if target else DOCS / page
        if path.parent == DOCS / "reference":  # made by the build, which checks links there
            continue
        assert path.exists(), f"{page}: {target}"
        if anchor and path.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
            ids = {re.sub(r"[^\w\- ]", "", one.lower()).strip().replace(" ", "-") for one in headings}
            assert anchor[1:] in ids, f"{page}: {target}{anchor}"


def test_no_theme_of_elsewhere_is_loaded():
    assert "font: false" in CONFIG
    assert "http" not in CONFIG.replace("https://semver.org", "")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if importlib.util.find_spec("mkdocstrings_handlers") is None:
        pytest.skip("mkdocs is not installed: pip install 'jaxdl[docs]'")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={
            **os.environ,
            "NO_MKDOCS_2_WARNING": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        },
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


@pytest.mark.slow
@pytest.mark.process
def test_the_reference_has_every_public_name_with_a_short_signature(site):
    sys.path.insert(0, str(DOCS))
    try:
        hooks = importlib.import_module("site_hooks")
    finally:
        sys.path.remove(str(DOCS))
    for package in hooks.packages():
        page = (site / "reference" / f"{package}.html").read_text(encoding="utf-8")
        ids = set(re.findall(r'<h\d id="jaxdl\.([\w.]+)"', page))
        module = importlib.import_module(f"jaxdl.{package}")
        assert {*getattr(module, "__all__", ())} <= {*hooks.public_names(package)}
        for name, path in hooks.public_names(package).items():
            if path.startswith("jaxdl.") and not hooks.is_module(path):
                assert path.removeprefix("jaxdl.") in ids, f"jaxdl.{package}.{name}"
        for signature in re.findall(r'<div class="[^"]*doc-signature[^"]*">(.*?)</div>', page, re.S):
            assert len(re.sub(r"<[^>]+>|\s+", "", signature)) < 600, f"{package}: {signature[:300]}"


@pytest.mark.slow
@pytest.mark.process
def test_a_page_loads_nothing_from_elsewhere_and_its_links_resolve(site):
    ids = {}
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert re.findall(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="(?:https?:)?//[^"]*"', text) == [], path
        ids[path] = {*re.findall(r' (?:id|name)="([^"]+)"', text)}
    for path in ids:
        if path.name == "404.html":  # served for any address, so its links start at the root
            continue
        for link in re.findall(r'(?:src|href)="([^"]+)"', path.read_text(encoding="utf-8")):
            target, _, anchor = link.partition("#")
            if ":" in target or target.startswith("data"):
                continue
            there = (path.parent / target.partition("?")[0]).resolve() if target else path
            assert there.exists(), f"{path.relative_to(site)}: {link}"
            if anchor and there in ids:
                assert anchor in ids[there] | {"__skip"}, f"{path.relative_to(site)}: {link}"
