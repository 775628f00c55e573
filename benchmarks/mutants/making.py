"""Generate the mutants of a module: every place in its functions that a rule applies to, with its replacement."""

import ast
import collections
import copy
import importlib
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["KINDS", "Mutant", "mutants", "path_of"]

KINDS = ("sign", "factor", "index", "axis", "branch")


class Mutant(NamedTuple):
    """A module with one changed place."""

    module: str
    function: str
    lines: range  # of the changed statement
    kind: str
    change: str  # source before and after
    number: int  # counts equal changes in one function
    tree: ast.Module

    @property
    def name(self) -> str:
        """A name that does not depend on line numbers."""
        again = f" ({self.number})" if self.number > 1 else ""
        return f"{self.module}.{self.function}: {self.change}{again}"


_SWAPS = {ast.Add: (ast.Sub, "sign"), ast.Sub: (ast.Add, "sign"), ast.Mult: (ast.Div, "factor")}
_SWAPS |= {ast.Div: (ast.Mult, "factor")}
_TURNS = {ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
_REDUCTIONS = {"sum": "mean", "mean": "sum"}
_POSITIONS = {"range", "slice_in_dim", "pad"}
_AXES = {"axis", "axes"}


def mutants(module: str) -> Iterator[Mutant]:
    """Yield the mutants of a module in the order of its lines."""
    tree = ast.parse(path_of(module).read_text())
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
    """Return the lines of the simple statement around a place, or within a compound one those of the place itself."""
    around = [
        node for node in ast.walk(function) if isinstance(node, ast.Return | ast.Assign) and place in ast.walk(node)
    ]
    whole = around[0] if around else place
    return range(whole.lineno, (whole.end_lineno or whole.lineno) + 1)


def _changes(function: ast.AST) -> Iterator[tuple[ast.expr, str, ast.expr]]:
    """Yield each place in the statements of a function with its kind and its replacement."""
    parents = {child: node for node in ast.walk(function) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(function):
        if isinstance(node, ast.expr) and not _left_alone(node, parents):
            yield from ((node, kind, new) for kind, new in _replacements(node, parents))


def _left_alone(node: ast.AST, parents: dict) -> bool:
    """Return whether a node is part of a check, a message, an annotation, a default or a docstring."""
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
    """Return the use of a number: "index" for a place, "axis", or "factor" for arithmetic."""
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


def path_of(module: str) -> pathlib.Path:
    """Return the source file of a module of jaxdl."""
    return pathlib.Path(str(importlib.import_module(f"jaxdl.{module}").__file__))


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
