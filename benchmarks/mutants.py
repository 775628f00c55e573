"""Does the gradient checker find wrong gradients? Mechanical mutants of `jaxdl.backprop`, one changed operator each.

    python -m benchmarks.mutants [--out benchmarks/mutants.md] [--only NAME] [--sample N]

A mutant is one module of `jaxdl.backprop` in which one place is changed, by rules that know nothing of its meaning:

* sign: + and − exchanged, a minus left out;
* factor: * and / exchanged, one operand left out, a number doubled;
* index: an int in a subscript, a range or a padding moved by one;
* axis: an axis moved by one, `keepdims` or a transposition left out, a mean for a sum;
* branch: a comparison turned (≥ for >, ≠ for ==), the two branches of a `where` exchanged.

Only lines that a backward pass runs through are changed; checks of Python arguments,
docstrings, defaults and annotations are left alone. Each mutant runs on the examples in
`benchmarks.backprop_examples` that reach the changed line, and is killed by the first that fails:

* gradient: `check_grad` on forward and backward finds that they do not belong together, or the mutant raises;
* oracle: they do, but values or gradients are not those of the namesake under `jax.vjp`; at ties too.

A survivor needs a line in `EXPLAINED`; without one the run fails.
"""

import argparse
import ast
import collections
import copy
import functools
import importlib
import pathlib
import random
import sys
import time
import types
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.backprop_examples import EXAMPLES, TIES, Example
from jaxdl.gradcheck import check_grad

MODULES = ("activations", "affine", "convolution", "folding", "losses", "normalization", "pooling", "stochastic")
MODULES += ("unfolding", "windows")
KINDS = ("sign", "factor", "index", "axis", "branch")

# what no input can tell apart, by the name of the mutant; of changes that only other callers meet, what meets them
_ONE_OR_TWO = "one pass over both axes or one along each: the same sums, and the same first maximum"
_NO_LEADING = "weights of a pair have no leading axes; those of a mapped layer have, and tests/test_laws.py fails"
CONSTANTS = {"convolution": {"_BLOCK": 25}, "unfolding": {"_THIN": 3}}  # so small that both ways are gone
EXPLAINED = {
    "activations.elu_backward: `0` → `1.0` (2)": "stands where z > 0, in the branch of the outer `where` not taken",
    "activations.elu_backward: `0` → `1.0` (3)": "differs for 0 < z ≤ 1, in the branch of the outer `where` not taken",
    "activations.elu_backward: `z > 0` → `z >= 0` (2)": "differs at z = 0 only, where both branches give 0",
    "activations.gelu_backward: `30` → `60`": "beyond 30 the derivative is 0 or 1 to the last digit of float64",
    "activations.gelu_backward: `30` → `60` (2)": "the same below −30",
    "convolution._kernel_by_slices: `-x.shape[0] // _SLICES` → `-x.shape[0]`": "one slice, whose sum is the same",
    "convolution._kernel_by_slices: `0` → `1` (3)": "another size of the slices, whose sum is the same",
    **{
        f"convolution._kernel_by_blocks: {change}": "the other form of a block's product, which is the same"
        for change in (
            "`-1` → `1` (3)",
            "`-1` → `1` (4)",
            "`1` → `2` (3)",
            "`1` → `2` (4)",
            "`5` → `10`",
            "`8` → `16`",
            "`axes[-1].size >= 5` → `axes[-1].size > 5`",
            "`x.shape[-1] <= 8` → `x.shape[-1] < 8`",
        )
    },
    **{
        f"convolution._block_size: {change}": "other blocks, whose sum is the same; tests/test_correlation.py fails"
        for change in (
            "`-1` → `1`",
            "`-1` → `1` (2)",
            "`-x.shape[0] // -(-x.shape[0] // most)` → `-x.shape[0]`",
            "`-x.shape[0] // most` → `-x.shape[0]`",
            "`0` → `1`",
            "`0` → `1` (3)",
            "`0` → `1` (4)",
            "`0` → `1` (5)",
            "`1` → `2`",
            "`1` → `2` (3)",
            "`1` → `2` (4)",
            "`1` → `2` (5)",
            "`2 * divisor > most` → `2 * divisor >= most`",
            "`2 * divisor` → `2 / divisor`",
            "`2 * divisor` → `2`",
            "`2` → `4`",
            "`_BLOCK // (lines * axes[-1].outputs * axes[-1].size * x.shape[-1])` → `_BLOCK`",
            "`axis.length + axis.low + axis.high` → `axis.length + axis.low - axis.high`",
            "`axis.length + axis.low` → `axis.length - axis.low`",
            "`lines * axes[-1].outputs * axes[-1].size * x.shape[-1]` → `lines * axes[-1].outputs * axes[-1].size`",
            "`lines * axes[-1].outputs * axes[-1].size` → `lines * axes[-1].outputs / axes[-1].size`",
            "`lines * axes[-1].outputs * axes[-1].size` → `lines * axes[-1].outputs`",
            "`lines * axes[-1].outputs` → `lines / axes[-1].outputs`",
            "`lines * axes[-1].outputs` → `lines`",
        )
    },
    "convolution._zeros: `0` → `1`": "another number, which does not count",
    "convolution.conv_kernel_cotangent: `groups > 1` → `groups >= 1`": "one group, split off by itself, is the whole",
    **{
        f"folding._blocks: {change}": "more columns of zeros than are needed, whose products are cut off"
        for change in (
            "`-(size + columns - 1) // columns` → `-(size + columns - 1)`",
            "`size + columns - 1` → `size + columns + 1`",
        )
    },
    "normalization._sum_like: `True` → `False`": "the reshape that follows gives the shape in either case",
    **{
        f"pooling._passes: {change}": _ONE_OR_TWO
        for change in (
            "`axes[0].size * axes[1].size <= 4` → `axes[0].size * axes[1].size < 4`",
            "`axes[0].size * axes[1].size` → `axes[0].size / axes[1].size`",
            "`axes[0].size * axes[1].size` → `axes[0].size`",
            "`4` → `8`",
            "`0` → `1`",
            "`axis.stride == axis.size` → `axis.stride != axis.size`",
        )
    },
    "pooling._interleave: `-(-axis.size // axis.stride) - 1` → `-(-axis.size // axis.stride) + 1`": (
        "more zeros at the end, which are cropped"
    ),
    "pooling._interleave: `-axis.size // axis.stride` → `-axis.size`": "the same",
    "pooling._each: `ndim - len(lead)` → `ndim + len(lead)`": _NO_LEADING,
    "pooling._each: `2` → `3`": _NO_LEADING,
    "pooling._each: `-1` → `1`": _NO_LEADING,
    "pooling._over_norm: `0` → `1.0` (2)": "multiplies inputs that are 0, as their window's norm is 0",
    "pooling._over_norm: `1` → `2`": "divisor in place of a 0, in the branch of the outer `where` not taken",
    "unfolding.unfolded_kernel_cotangent: `1` → `2`": "a backward pass comes with one group at a time",
    **{
        f"unfolding.unfolded_kernel_cotangent: {change}": "one product for all places or one for each: the same sums"
        for change in ("`rows[0].shape[-1] <= _THIN` → `rows[0].shape[-1] < _THIN`", "`1` → `2` (6)")
    },
    **{
        f"unfolding.unfolded_kernel_cotangent: `-1` → `1` ({number})": "the same: a matrix's second axis is its last"
        for number in (4, 8)
    },
}


class Mutant(NamedTuple):
    """One changed place."""

    module: str
    function: str
    lines: range  # of the changed statement
    kind: str
    change: str  # source before and after
    number: int  # counts equal changes of one function
    tree: ast.Module

    @property
    def name(self) -> str:
        """A name that stays when other lines are added."""
        again = f" ({self.number})" if self.number > 1 else ""
        return f"{self.module}.{self.function}: {self.change}{again}"


# ---------------------------------------------------------------- making mutants

_SWAPS = {ast.Add: (ast.Sub, "sign"), ast.Sub: (ast.Add, "sign"), ast.Mult: (ast.Div, "factor")}
_SWAPS |= {ast.Div: (ast.Mult, "factor")}
_TURNS = {ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
_REDUCTIONS = {"sum": "mean", "mean": "sum"}
_POSITIONS = {"range", "slice_in_dim", "pad"}
_AXES = {"axis", "axes"}


def mutants(module: str) -> Iterator[Mutant]:
    """Every mutant of one module, in the order of its lines."""
    tree = ast.parse(_path(module).read_text())
    count: collections.Counter = collections.Counter()
    for function in [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]:
        for place, kind, new in _changes(function):
            changed = copy.deepcopy(tree)
            old = _at(changed, _address(tree, place))
            before = ast.unparse(old)
            mutated = _replaced(changed, old, new)
            change = f"`{before}` → `{ast.unparse(new)}`"
            count[function.name, change] += 1
            number = count[function.name, change]
            yield Mutant(module, function.name, _lines_of(function, place), kind, change, number, mutated)


def _lines_of(function: ast.AST, place: ast.expr) -> range:
    """Return the lines of the simple statement that holds a place; of a compound one only the place's own."""
    around = [
        node for node in ast.walk(function) if isinstance(node, ast.Return | ast.Assign) and place in ast.walk(node)
    ]
    whole = around[0] if around else place
    return range(whole.lineno, (whole.end_lineno or whole.lineno) + 1)


def _changes(function: ast.AST) -> Iterator[tuple[ast.expr, str, ast.expr]]:
    """Each place in a function's statements with what replaces it."""
    parents = {child: node for node in ast.walk(function) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(function):
        if isinstance(node, ast.expr) and not _left_alone(node, parents):
            yield from ((node, kind, new) for kind, new in _replacements(node, parents))


def _left_alone(node: ast.AST, parents: dict) -> bool:
    """Whether it is part of a check, a message, an annotation, a default or a docstring."""
    child = node
    while child in parents:
        parent = parents[child]
        if isinstance(parent, ast.Raise | ast.JoinedStr | ast.arguments | ast.AnnAssign | ast.arg):
            return True
        if isinstance(parent, ast.If) and child is parent.test and isinstance(parent.body[0], ast.Raise):
            return True
        if isinstance(parent, ast.FunctionDef) and (child in parent.decorator_list or child is parent.returns):
            return True
        if isinstance(parent, ast.Expr):
            return True
        child = parent
    return isinstance(child, ast.FunctionDef) and child.name.startswith("_check")


def _replacements(node: ast.expr, parents: dict) -> Iterator[tuple[str, ast.expr]]:
    match node:
        case ast.BinOp(left, op, right) if type(op) in _SWAPS:
            swapped, kind = _SWAPS[type(op)]
            yield kind, ast.BinOp(left, swapped(), right)
            if kind == "factor":
                yield kind, left
        case ast.BinOp(left, ast.FloorDiv(), _):
            yield "factor", left
        case ast.UnaryOp(ast.USub(), operand):
            constant = isinstance(operand, ast.Constant)
            yield ("axis" if constant and _context(node, parents) == "axis" else "sign"), operand
        case ast.Constant(value) if isinstance(value, int | float) and not isinstance(value, bool):
            yield from _numbers(node, value, parents)
        case ast.Constant(True) if isinstance(parents[node], ast.keyword) and parents[node].arg == "keepdims":
            yield "axis", ast.Constant(False)
        case ast.Attribute(value, "T"):
            yield "axis", value
        case ast.Attribute(value, name) if name in _REDUCTIONS:
            yield "axis", ast.Attribute(value, _REDUCTIONS[name], ast.Load())
        case ast.Compare(left, [op], comparators) if type(op) in _TURNS:
            yield "branch", ast.Compare(left, [_TURNS[type(op)]()], comparators)
        case ast.Call(ast.Attribute(_, "where") as where, [condition, first, second], []):
            yield "branch", ast.Call(where, [condition, second, first], [])
        case _:
            pass


def _numbers(node: ast.Constant, value: float, parents: dict) -> Iterator[tuple[str, ast.expr]]:
    context = _context(node, parents)
    if context == "factor":
        yield context, ast.Constant(2 * value if value else 1.0)
    elif isinstance(value, int):
        yield context, ast.Constant(value + 1)


def _context(node: ast.AST, parents: dict) -> str:
    """What a number is for: a place (index), an axis, or arithmetic (factor)."""
    child = node
    while child in parents:
        parent = parents[child]
        if isinstance(parent, ast.keyword) and parent.arg in _AXES:
            return "axis"
        if isinstance(parent, ast.Subscript) and child is parent.slice:
            return "index"
        if isinstance(parent, ast.Call):
            called = getattr(parent.func, "attr", getattr(parent.func, "id", ""))
            if called in ("max", "sum", "mean", "swapaxes", "moveaxis", "concatenate", "stack", "enumerate"):
                return "axis"
            return (
                "index" if called in _POSITIONS or (isinstance(node, ast.Constant) and called == "_pad") else "factor"
            )
        if isinstance(parent, ast.Tuple | ast.List | ast.Slice):
            return "index"
        child = parent
    return "factor"


def _path(module: str) -> pathlib.Path:
    return pathlib.Path(str(importlib.import_module(f"jaxdl.backprop.{module}").__file__))


def _address(tree: ast.AST, wanted: ast.AST) -> int:
    return next(i for i, node in enumerate(ast.walk(tree)) if node is wanted)


def _at(tree: ast.AST, address: int) -> ast.AST:
    return next(node for i, node in enumerate(ast.walk(tree)) if i == address)


def _replaced(tree: ast.Module, old: ast.AST, new: ast.expr) -> ast.Module:
    class Replace(ast.NodeTransformer):
        def visit(self, node):
            return ast.copy_location(new, node) if node is old else self.generic_visit(node)

    Replace().visit(tree)  # never replaces the module itself
    return ast.fix_missing_locations(tree)


# ---------------------------------------------------------------- running them


def load(mutant: Mutant | None) -> dict[str, types.ModuleType]:
    """Return fresh copies of all modules of `jaxdl.backprop`, one of them mutated, that import one another."""
    fresh: dict[str, types.ModuleType] = {}
    saved = {name: module for name, module in sys.modules.items() if name.startswith("jaxdl.backprop")}
    shared = sys.modules["jaxdl.backprop.static"]
    for name in saved:
        del sys.modules[name]
    try:
        sys.modules["jaxdl.backprop"] = types.ModuleType("jaxdl.backprop")
        sys.modules["jaxdl.backprop.static"] = shared  # registered with JAX once
        for name in ("windows", "folding", "unfolding", "affine", "activations", *MODULES):
            if name in fresh:
                continue
            path = _path_of[name]
            tree = mutant.tree if mutant and mutant.module == name else ast.parse(path.read_text())
            module = types.ModuleType(f"jaxdl.backprop.{name}")
            module.__file__ = str(path)
            sys.modules[module.__name__] = fresh[name] = module
            exec(compile(tree, str(path), "exec"), module.__dict__)
            module.__dict__.update(CONSTANTS.get(name, {}))
    finally:
        for name in [name for name in sys.modules if name.startswith("jaxdl.backprop")]:
            del sys.modules[name]
        sys.modules.update(saved)
    return fresh


_path_of = {name: _path(name) for name in MODULES}


def pair(modules: dict[str, types.ModuleType], name: str, example: Example) -> tuple[Any, Any]:
    """Return forward and backward of one pair with the example's options."""
    for module in modules.values():
        if hasattr(module, f"{name}_forward"):
            forward, backward = getattr(module, f"{name}_forward"), getattr(module, f"{name}_backward")
            options, back = dict(example.options), dict(example.backward_options)
            return functools.partial(forward, **options), functools.partial(backward, **back)
    raise LookupError(name)


def _floats(example: Example) -> list[int]:
    return [k for k, x in enumerate(example.args) if x is not None and jnp.issubdtype(jnp.asarray(x).dtype, float)]


def _call(function: Any, example: Example, values: Any) -> Any:
    args = list(example.args)
    for k, value in zip(_floats(example), values, strict=True):
        args[k] = value
    return function(*args)


def _pulled(forward: Any, backward: Any, example: Example, values: Any, cotangent: Any) -> tuple:
    found = backward(_call(forward, example, values)[1], cotangent)
    found = found if isinstance(found, tuple) else (found,)
    return tuple(found[k] for k in _floats(example))


def gradient_is_right(modules: dict, name: str, example: Example) -> bool:
    """Whether `check_grad` finds nothing."""
    forward, backward = pair(modules, name, example)
    values = tuple(jnp.asarray(example.args[k]) for k in _floats(example))
    pulled = functools.partial(_pulled, forward, backward, example)
    return check_grad(lambda values: _call(forward, example, values)[0], values, backward=pulled).ok


def lines_of_backward(modules: dict, name: str, example: Example) -> frozenset[tuple[str, int]]:
    """Return the lines that the backward pass runs through, as (module, line)."""
    forward, backward = pair(modules, name, example)
    y, residuals = forward(*example.args)
    with _Lines() as lines:
        backward(residuals, _cotangent(y))
    return frozenset(lines.seen)


def equals_oracle(modules: dict, name: str, example: Example, expected: tuple) -> bool:
    """Whether value and gradient are the namesake's."""
    forward, backward = pair(modules, name, example)
    values = tuple(jnp.asarray(example.args[k]) for k in _floats(example))
    y = _call(forward, example, values)[0]
    found = y, _pulled(forward, backward, example, values, _cotangent(y))
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return all(a.shape == b.shape and np.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True) for a, b in pairs)


def oracle(example: Example) -> tuple:
    """Value and gradient of the namesake."""
    values = tuple(jnp.asarray(example.args[k]) for k in _floats(example))
    namesake = functools.partial(example.oracle, **example.options)
    y, pull = jax.vjp(lambda *values: _call(namesake, example, values), *values)
    return y, pull(_cotangent(y))


def _cotangent(tree: Any) -> Any:
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda y: jnp.asarray(rng.normal(size=y.shape), y.dtype), tree)


class Check(NamedTuple):
    """One example of one pair, with the lines that its backward pass runs through."""

    name: str
    example: Example
    expected: tuple
    lines: frozenset[tuple[str, int]]
    differentiable: bool  # not at a kink or a tie, where the checker accepts any subgradient


def checks(names: Collection[str] = tuple(EXAMPLES)) -> list[Check]:
    """Run every example of these pairs on the unchanged code, which must pass, and note what its backward reaches."""
    found = []
    for table, smooth in ((EXAMPLES, True), (TIES, False)):
        for name in [name for name in table if name in names]:
            for example in table[name]:
                modules, expected = load(None), oracle(example)
                right = equals_oracle(modules, name, example, expected)
                right = right and (not smooth or gradient_is_right(modules, name, example))
                if not right:
                    raise AssertionError(f"{name} {example.options}: a false alarm on the code as it is")
                found.append(Check(name, example, expected, lines_of_backward(modules, name, example), smooth))
    return found


class _Lines:
    """Note the lines of `jaxdl.backprop` that run."""

    def __enter__(self) -> "_Lines":
        self.seen: set[tuple[str, int]] = set()
        self.paths = {str(path): name for name, path in _path_of.items()}
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: types.FrameType, event: str, _: object) -> Any:
        name = self.paths.get(frame.f_code.co_filename)
        if name is None:
            return None
        if event == "line":
            self.seen.add((name, frame.f_lineno))
        return self._trace


def backward_mutants(module: str, all_checks: list[Check]) -> list[Mutant]:
    """Return the mutants of the lines that some backward pass runs through."""
    return [mutant for mutant in mutants(module) if any(_reaches(check, mutant) for check in all_checks)]


def verdict(mutant: Mutant, all_checks: list[Check]) -> str:
    """Return what killed a mutant: "gradient", "raises" or "oracle"; else "survived"."""
    reached = [check for check in all_checks if _reaches(check, mutant)]
    try:
        modules = load(mutant)
        for check in sorted(reached, key=lambda check: not check.differentiable):
            if check.differentiable and not gradient_is_right(modules, check.name, check.example):
                return "gradient"
        same = (equals_oracle(modules, check.name, check.example, check.expected) for check in reached)
        return "survived" if all(same) else "oracle"
    except Exception:  # a mutant may fail in any way
        return "raises"


def _reaches(check: Check, mutant: Mutant) -> bool:
    return any((mutant.module, line) in check.lines for line in mutant.lines)


# ---------------------------------------------------------------- the report


def main() -> None:
    """Run all mutants and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, help="file for the report; printed otherwise")
    parser.add_argument("--only", help="one module")
    parser.add_argument("--sample", type=int, help="that many mutants, drawn at random")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_numpy_rank_promotion", "raise")  # as in the tests
    all_checks, started, results = checks(), time.perf_counter(), []
    modules = [options.only] if options.only else MODULES
    population = [mutant for module in modules for mutant in backward_mutants(module, all_checks)]
    total = len(population)
    if options.sample:
        population = random.Random(0).sample(population, options.sample)
    for number, mutant in enumerate(population, start=1):
        results.append((mutant, verdict(mutant, all_checks)))
        if results[-1][1] == "survived":
            print(f"{number}/{len(population)} survived: {mutant.name}", file=sys.stderr, flush=True)
        if number % 40 == 0:
            jax.clear_caches()
            print(f"{number}/{len(population)}, {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    text = report(results, total)
    if options.out:
        options.out.write_text(text)
    else:
        print(text)
    missing = [m.name for m, result in results if result == "survived" and m.name not in EXPLAINED]
    if missing:
        sys.exit("survivors without an explanation:\n" + "\n".join(missing))


def report(results: list[tuple[Mutant, str]], total: int) -> str:
    """The table of kinds and verdicts, and the survivors with their reasons."""
    verdicts = ("gradient", "raises", "oracle", "survived")
    count = collections.Counter((mutant.kind, result) for mutant, result in results)
    lines = [
        "# Mutants of `jaxdl.backprop`",
        "",
        f"{len(results)} mutants drawn from {total}; jax {jax.__version__}, float64, CPU.",
        "`python -m benchmarks.mutants` wrote this and explains the words.",
        "",
        "| kind | " + " | ".join(verdicts) + " | all |",
        "|---" * (len(verdicts) + 2) + "|",
    ]
    for kind in KINDS:
        numbers = [count[kind, one] for one in verdicts]
        lines.append(f"| {kind} | " + " | ".join(map(str, [*numbers, sum(numbers)])) + " |")
    numbers = [sum(count[kind, one] for kind in KINDS) for one in verdicts]
    lines.append("| all | " + " | ".join(map(str, [*numbers, sum(numbers)])) + " |")
    survivors = sorted({mutant.name for mutant, result in results if result == "survived"})
    lines += ["", "## Survivors", "", *(f"* {name}: {EXPLAINED.get(name, 'unexplained')}" for name in survivors)]
    found = sorted({mutant.name for mutant, one in results if one == "oracle"})
    lines += ["", "## Found by the oracle only", ""]
    lines += [
        "Forward and backward still belong together, but compute something else, or the rule at a tie differs.",
        "",
    ]
    return "\n".join([*lines, *(f"* {name}" for name in found)]) + "\n"


if __name__ == "__main__":
    main()
