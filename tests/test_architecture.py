"""The architecture, read from the sources: levels, privacy, public names, and the cost of an import.

Each law collects its offenders as "file: what", so that a failure names all of them at once.
"""

import ast
import collections
import functools
import importlib
import inspect
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

import jaxdl

ROOT = pathlib.Path(jaxdl.__file__).parent
REPOSITORY = ROOT.parent

# a module imports from lower levels alone, never from its own
LEVELS = [
    {"compat", "counterparts", "disk", "extras", "numerics", "paths", "sizes", "texts", "words"},
    {"primitives"},
    {"activations", "initializers", "losses", "regularizers", "metrics", "schedules", "gradcheck"}
    | {"kernels", "data"},
    {"backprop", "layers", "optimizers"},
    {"nn"},
    {"models", "classical", "training", "analysis", "interop"},
    {"compare", "studies", "applications"},
    {"plots"},  # drawn by the reports of runs, so below them
    {"runs"},
    {"demonstrations"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}

CORE = ["counterparts", "words", "sizes", "numerics", "primitives", "activations", "initializers", "losses", "metrics"]
CORE += [
    "regularizers",
    "schedules",
    "kernels",
    "backprop",
    "layers",
    "optimizers",
    "nn",
    "models",
    "analysis",
    "compare",
    "studies",
]
DEPENDENCIES = {"jax", "flax", "optax", "numpy", "scipy", "jaxtyping"}
EXTRAS = {"matplotlib", "sklearn", "orbax", "PIL", "pooch", "rich", "tyro", "optuna", "chex", "beartype", "pytest"}
EXTRAS |= {"safetensors", "h5py", "torch", "keras"}
# imported when a table is printed; without it the table is Markdown
EXTRAS_ALLOWED = {("jaxdl/analysis/summary.py", "rich")}
VERSION_DEPENDENT = ("jax.experimental", "jax.extend", "jax.interpreters")
# optax does not export these state classes, and a state of another class would be a different pytree
STATES = "jaxdl/optimizers/states.py"
PRIVATE_ALLOWED = {(STATES, "optax._src.transform"), (STATES, "optax.transforms._adding")}

FILES = sorted(ROOT.rglob("*.py"))
OUTSIDE = [path for folder in ("experiments", "benchmarks") for path in sorted((REPOSITORY / folder).rglob("*.py"))]
PACKAGES = [path for path in FILES if path.name == "__init__.py" and path.parent != ROOT]
SINGLE = [path for path in FILES if path.parent == ROOT and path.name not in ("__init__.py", "compat.py")]


@functools.cache
def tree(path):
    return ast.parse(path.read_text())


def label(path):
    return str(path.relative_to(REPOSITORY))


def module_name(path):
    return label(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def part(path):
    """Return the package or module directly below jaxdl that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@functools.cache
def imports(path):
    """Yield (module, name or None, bound as) for every import, including those inside functions."""
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [(alias.name, None, alias.asname or alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found += [(module, alias.name, alias.asname or alias.name) for alias in node.names]
    return found


def full_names(path):
    return [f"{module}.{name}" if name else module for module, name, _ in imports(path)]


def below_jaxdl(full):
    names = full.split(".")
    return names[1] if names[0] == "jaxdl" and len(names) > 1 and not names[1].startswith("__") else None


def private(name):
    return name.startswith("_") and not name.startswith("__")


def declared(path):
    for node in tree(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return None


# ---------------------------------------------------------------- levels


def test_every_module_has_one_level():
    assert {part(path) for path in FILES} - {"__init__"} <= set(LEVEL)
    assert sum(map(len, LEVELS)) == len(LEVEL)


def test_the_page_on_the_architecture_shows_these_levels():
    text = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d \| (.*?) \|", text, re.M)
    assert [set(re.findall(r"`(\w+)`", row)) for row in rows] == LEVELS


def test_imports_go_down_only():
    upwards = []
    for path in FILES:
        for other in {below_jaxdl(full) for full in full_names(path)} - {None, part(path)}:
            if part(path) == "__init__" or LEVEL[other] >= LEVEL[part(path)]:
                upwards.append(f"{label(path)}: {other}")
    assert not upwards


def test_the_library_imports_no_experiment_and_nothing_relatively_or_wholesale():
    outside = {"experiments", "benchmarks", "tests", ""}
    assert not [
        f"{label(path)}: {full}"
        for path in FILES
        for full in full_names(path)
        if full.split(".")[0] in outside or full.endswith("*")
    ]


def test_there_are_no_cycles_within_a_package():
    modules = {module_name(path): path for path in FILES if path.name != "__init__.py"}
    waiting = {}
    for name, path in modules.items():
        parents = {full.rpartition(".")[0] for full in full_names(path)}
        waiting[name] = ({*full_names(path), *parents} & set(modules)) - {name}
    while ready := {name for name, below in waiting.items() if not below & set(waiting)}:
        for name in ready:
            del waiting[name]
    assert not waiting


def test_a_module_takes_its_neighbours_things_from_the_neighbour_not_from_their_package():
    through = []
    for path in set(FILES) - set(PACKAGES):
        own, neighbours = module_name(path).rpartition(".")[0], {p.stem for p in path.parent.iterdir()}
        names = [name for module, name, _ in imports(path) if module == own and name not in neighbours]
        through += [f"{label(path)}: {name}" for name in names if not name.startswith("__")]
    assert not through


# ---------------------------------------------------------------- privacy


def foreign_imports(path):
    """Yield (full name, bound as) for every import from another package."""
    own = module_name(path).split(".")[:2] if path in FILES else module_name(path)
    pairs = zip(full_names(path), imports(path), strict=True)
    return [(full, bound) for full, (_, _, bound) in pairs if full.split(".")[:2] != own]


def test_nothing_private_of_another_package_is_imported():
    found = {
        (label(path), full.rpartition(".")[0])
        for path in FILES + OUTSIDE
        for full, _ in foreign_imports(path)
        if any(map(private, full.split(".")))
    }
    assert found == PRIVATE_ALLOWED


def test_nothing_private_of_an_imported_module_is_used():
    used = []
    for path in FILES + OUTSIDE:
        modules = {bound.split(".")[0] for _, bound in foreign_imports(path)}
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Attribute) and private(node.attr):
                root = ast.unparse(node).split(".")[0]
                if root in modules and node.attr not in ("_replace", "_asdict", "_fields", "_exit"):  # documented
                    used.append(f"{label(path)}:{node.lineno}: {ast.unparse(node)}")
    assert not used


def test_version_dependent_calls_stand_in_compat_and_primitives_alone():
    used = []
    for path in FILES + OUTSIDE:
        attributes = {ast.unparse(node) for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
        names = {*full_names(path), *attributes}
        used += [f"{label(path)}: {name}" for name in names if name.startswith(VERSION_DEPENDENT)]
    assert not [one for one in used if not one.startswith(("jaxdl/compat.py", "jaxdl/primitives.py"))]


def test_no_asserts_no_blanket_excepts_no_stubs():
    found = []
    for path in FILES:
        for node in ast.walk(tree(path)):
            stub = isinstance(node, ast.Raise) and node.exc and "NotImplementedError" in ast.unparse(node.exc)
            caught = ast.unparse(node.type) if isinstance(node, ast.ExceptHandler) and node.type else ""
            bare = isinstance(node, ast.ExceptHandler) and not node.type
            if isinstance(node, ast.Assert) or stub or bare or caught in ("Exception", "BaseException"):
                found.append(f"{label(path)}:{node.lineno}: {ast.unparse(node).splitlines()[0]}")
    assert not found


SHARED_NAMES = {"Config": "the options of an experiment, which tyro and the manifest call by their module"}


def test_no_two_classes_have_one_name():
    """A class name in a traceback or a signature means one thing in jaxdl and the experiments."""
    places = collections.defaultdict(list)
    for path in [*FILES, *(REPOSITORY / "experiments").rglob("*.py")]:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef) and not private(node.name):
                places[node.name].append(label(path))
    assert {name: found for name, found in places.items() if len(found) > 1 and name not in SHARED_NAMES} == {}
    assert {name for name in SHARED_NAMES if len(places[name]) < 2} == set()


def test_files_and_functions_are_short_enough_to_read():
    """The limits are 400 lines for a source file, 600 for a test file, 40 for a function without its docstring."""
    long = [label(path) for path in FILES + OUTSIDE if len(path.read_text().splitlines()) > 400]
    tests = sorted((REPOSITORY / "tests").rglob("*.py"))
    long += [label(path) for path in tests if len(path.read_text().splitlines()) > 600]
    for path in FILES + OUTSIDE:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef):
                said = node.body[0] if ast.get_docstring(node) else None
                lines = node.end_lineno - node.lineno + 1 - (said.end_lineno - said.lineno + 1 if said else 0)
                long += [f"{label(path)}: {node.name} has {lines} lines"] if lines > 40 else []
    assert not long


# ---------------------------------------------------------------- public names and their documentation


# the one thing that a package may do besides: answer the names of other libraries, hidden from checkers of types
ANSWER = "if not TYPE_CHECKING:\n    __getattr__ = counterparts.absent(__name__, __all__)"
ANSWERING = {
    "analysis",
    "data",
    "interop",
    "layers",
    "losses",
    "metrics",
    "models",
    "nn",
    "optimizers",
    "schedules",
    "training",
}


@pytest.mark.parametrize("path", PACKAGES, ids=module_name)
def test_a_package_only_re_exports_and_says_exactly_what(path):
    body, names = tree(path).body, declared(path)
    if path.parent.parent == ROOT and path.parent.name in ANSWERING:
        assert ast.unparse(body.pop()) == ANSWER
        names = [*names, "TYPE_CHECKING", "counterparts"]
    assert all(isinstance(node, ast.Import | ast.ImportFrom | ast.Assign | ast.Expr) for node in body)
    assert [ast.unparse(node.targets[0]) for node in body if isinstance(node, ast.Assign)] == ["__all__"]
    assert sorted(bound for _, _, bound in imports(path)) == sorted(names)
    assert len(set(names)) == len(names)
    assert not any(map(private, names))


def test_all_of_a_module_is_what_it_defines():
    for path in FILES:
        if path not in PACKAGES and (names := declared(path)):
            module = importlib.import_module(module_name(path))
            assert [name for name in names if not hasattr(module, name)] == [], label(path)
            assert len(set(names)) == len(names), label(path)
            defined = {n.name for n in tree(path).body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
            if path in SINGLE:  # modules inside packages share helpers with their neighbours
                assert {name for name in defined if not private(name)} <= set(names), label(path)


def test_every_module_says_what_it_is_for():
    assert not [label(path) for path in FILES + OUTSIDE if not ast.get_docstring(tree(path))]


def test_every_public_name_is_documented():
    silent = []
    for path in PACKAGES + SINGLE:
        module = importlib.import_module(module_name(path))
        for name in declared(path) or [n for n in vars(module) if not n.startswith("_")]:
            value = getattr(module, name)
            value = value.func if isinstance(value, functools.partial) else value  # a variant of a documented function
            if callable(value) and value.__module__.startswith("jaxdl"):
                said = inspect.getdoc(value) or ""
                generated = isinstance(value, type) and said.startswith(f"{value.__name__}(")  # as NamedTuple does
                silent += [f"{label(path)}: {name}"] if generated or not said else []
    assert not silent


def test_the_version_stands_once():
    assert jaxdl.__version__
    assert [label(path) for path in FILES if f'"{jaxdl.__version__}"' in path.read_text()] == ["jaxdl/__init__.py"]


# ---------------------------------------------------------------- the cost of an import


@pytest.mark.process
def test_the_core_imports_none_of_the_extras():
    program = f"""if True:
        import importlib, sys
        before = set()
        for name in ["jaxdl", *("jaxdl." + one for one in {CORE})]:
            importlib.import_module(name)
            now = {{module.split(".")[0] for module in sys.modules}}
            print(name, *sorted((now - before) & {EXTRAS | {"experiments"}}))
            before = now
    """
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert out.stdout.splitlines() == ["jaxdl", *(f"jaxdl.{one}" for one in CORE)]


@pytest.mark.process
def test_a_module_is_imported_at_its_first_use():
    """As users of flax and PyTorch expect of ``import jaxdl`` alone, which loads nothing else."""
    program = f"""if True:
        import sys, jaxdl
        print("jax" in sys.modules, *(getattr(jaxdl, one).__name__ for one in {CORE}))
    """
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert out.stdout.split() == ["False", *(f"jaxdl.{one}" for one in CORE)]


@pytest.mark.parametrize("name", ["optim", "_layers", "__wrapped__"])
def test_what_is_no_module_is_no_attribute(name):
    with pytest.raises(AttributeError, match=f"^module 'jaxdl' has no attribute '{name}'$"):
        getattr(jaxdl, name)
    with pytest.raises(ImportError, match="cannot import name"):
        exec(f"from jaxdl import {name}")


def test_the_core_s_source_imports_only_what_the_package_depends_on():
    known = {*DEPENDENCIES, "jaxdl", *sys.stdlib_module_names}
    core = [path for path in FILES if part(path) in {*CORE, "__init__", "compat"}]
    foreign = {(label(path), one.split(".")[0]) for path in core for one in full_names(path)}
    assert {(file, package) for file, package in foreign if package not in known} == EXTRAS_ALLOWED


PACKAGES_OF = {"PIL": "pillow", "markdown_it": "markdown-it-py", "orbax": "orbax-checkpoint", "sklearn": "scikit-learn"}


def of_extra(name, project):
    """The packages of an extra, those of the extras in it included."""
    found = set()
    for wanted in project["optional-dependencies"][name]:
        package, brackets, inside = re.match(r"([\w-]+)(\[(.*)\])?", wanted).groups()
        found |= {p for one in inside.split(",") for p in of_extra(one, project)} if brackets else {package}
    return found


def test_the_extra_of_the_documentation_has_all_that_an_import_of_every_module_needs():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    there = {re.match(r"[\w-]+", one)[0] for one in project["dependencies"]} | of_extra("docs", project)
    needed = set()
    for path in [*FILES, *(REPOSITORY / "docs").glob("*.py")]:
        for node in tree(path).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
                needed |= {name.partition(".")[0] for name in names}
    packages = {
        PACKAGES_OF.get(name, name) for name in needed - {"jaxdl", "docs", "experiments", *sys.stdlib_module_names}
    }
    assert packages - there == set()
