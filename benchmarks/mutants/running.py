"""Run mutants on the examples whose backward pass reaches the changed line, and judge them."""

import ast
import functools
import sys
import types
from collections.abc import Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.backprop_examples import EXAMPLES, TIES, Example
from benchmarks.mutants.making import Mutant, mutants, path_of
from jaxdl.gradcheck import check_grad

__all__ = ["MODULES", "backward_mutants", "checks", "verdict"]

# in the order of their imports
_KERNELS = ("tuned", "windows", "folding", "unfolding", "choice", "xla", "forms", "reading", "pooling")
_PAIRS = ("affine", "activations", "convolution", "losses", "normalization", "pooling", "stochastic")
MODULES = (*(f"kernels.{name}" for name in _KERNELS), *(f"backprop.{name}" for name in _PAIRS))
_TUNED = {"BLOCK": 25, "THIN": 3}  # small enough for the examples to take both branches
_PATHS = {name: path_of(name) for name in MODULES}


def load(mutant: Mutant | None) -> dict[str, types.ModuleType]:
    """Return fresh copies of `MODULES`, which import one another, with one of them mutated."""
    fresh: dict[str, types.ModuleType] = {}
    packages = ("jaxdl.kernels", "jaxdl.backprop")
    # other modules, such as `kernels.native`, are shared
    replaced = [*packages, *(f"jaxdl.{name}" for name in MODULES)]
    saved = {name: sys.modules.pop(name) for name in replaced if name in sys.modules}
    try:
        sys.modules.update({name: types.ModuleType(name) for name in packages})
        for name, path in _PATHS.items():
            tree = mutant.tree if mutant and mutant.module == name else ast.parse(path.read_text())
            module = types.ModuleType(f"jaxdl.{name}")
            module.__file__ = str(path)
            sys.modules[module.__name__] = fresh[name] = module
            exec(compile(tree, str(path), "exec"), module.__dict__)
            if name == "kernels.tuned":
                module.__dict__.update(_TUNED)
    finally:
        for name in replaced:
            sys.modules.pop(name, None)
        sys.modules.update(saved)
    return fresh


def pair(modules: dict[str, types.ModuleType], name: str, example: Example) -> tuple[Any, Any]:
    """Return the forward and backward functions of a pair with the options of an example."""
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
    """Return whether `check_grad` accepts the gradient."""
    forward, backward = pair(modules, name, example)
    values = tuple(jnp.asarray(example.args[k]) for k in _floats(example))
    pulled = functools.partial(_pulled, forward, backward, example)
    return check_grad(lambda values: _call(forward, example, values)[0], values, backward=pulled).ok


def lines_of_backward(modules: dict, name: str, example: Example) -> frozenset[tuple[str, int]]:
    """Return the lines that the backward pass executes, as (module, line)."""
    forward, backward = pair(modules, name, example)
    y, residuals = forward(*example.args)
    with _Lines() as lines:
        backward(residuals, _cotangent(y))
    return frozenset(lines.seen)


def equals_oracle(modules: dict, name: str, example: Example, expected: tuple) -> bool:
    """Return whether value and gradient are those of the namesake."""
    forward, backward = pair(modules, name, example)
    values = tuple(jnp.asarray(example.args[k]) for k in _floats(example))
    y = _call(forward, example, values)[0]
    found = y, _pulled(forward, backward, example, values, _cotangent(y))
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return all(a.shape == b.shape and np.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True) for a, b in pairs)


def oracle(example: Example) -> tuple:
    """Return value and gradient of the namesake."""
    values = tuple(jnp.asarray(example.args[k]) for k in _floats(example))
    namesake = functools.partial(example.oracle, **example.options)
    y, pull = jax.vjp(lambda *values: _call(namesake, example, values), *values)
    return y, pull(_cotangent(y))


def _cotangent(tree: Any) -> Any:
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda y: jnp.asarray(rng.normal(size=y.shape), y.dtype), tree)


class Check(NamedTuple):
    """An example of a pair, with the lines that its backward pass executes."""

    name: str
    example: Example
    expected: tuple
    lines: frozenset[tuple[str, int]]
    differentiable: bool  # not at a kink or a tie, where the checker accepts any subgradient


def checks(names: Collection[str] = tuple(EXAMPLES)) -> list[Check]:
    """Run every example of these pairs on the original code, which must pass, and record the lines that it reaches."""
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
    """Context manager that records the executed lines of `MODULES`."""

    def __enter__(self) -> "_Lines":
        self.seen: set[tuple[str, int]] = set()
        self.paths = {str(path): name for name, path in _PATHS.items()}
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
    """Return the mutants of the lines that some backward pass executes."""
    return [mutant for mutant in mutants(module) if any(_reaches(check, mutant) for check in all_checks)]


def verdict(mutant: Mutant, all_checks: list[Check]) -> str:
    """Return how a mutant was killed, "gradient", "raises" or "oracle", or else "survived"."""
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
