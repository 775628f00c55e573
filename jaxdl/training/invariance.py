"""One law for anyone's own step: any number of devices computes what one device computes.

`check_device_invariance` runs a step on 1, 2, 4, ... devices under each strategy and compares all that it returns;
`assert_device_invariance` does the same in tests. Where something differs, the check repeats the step on parts of the
batch, to name the fault:

* a leaf that changes n times as much on n devices was summed where it should have been averaged, or the reverse;
* a leaf that is what the first part of the batch gives alone was not summed over the devices, as the running statistics
  of a batch norm without ``axis_name``;
* a result that the first examples give without the last ones has lost the remainder of an uneven batch;
* devices that get equal parts and return what one part gives, although equal examples get different masks on one
  device, draw the same random numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr

from jaxdl.training.parallel import STRATEGIES, Parallel, data_parallel

RTOL, RTOL_LAST = 2e-6, 1e-5
_DRAWS = "the step draws random numbers per device; check it without them, or under 'jit' alone"
KEYS = 5  # under which a cause must explain the results of a step that draws random numbers


class Difference(NamedTuple):
    """A number that depends on the devices."""

    strategy: str
    devices: int
    steps: int  # after which it was found
    leaf: str  # path in (state, metrics)
    error: float  # largest difference, relative to the largest change of the leaf on one device
    allowed: float  # 0 for counts and other whole numbers


class Invariance(NamedTuple):
    """The result of `check_device_invariance`."""

    compared: tuple[tuple[str, int], ...]  # strategies and numbers of devices
    differences: tuple[Difference, ...]
    causes: tuple[str, ...]  # faults that explain differences, a sentence each
    undecided: tuple[str, ...]  # runs that draw random numbers per device, a sentence each

    @property
    def ok(self) -> bool:
        """Whether every number was compared and is the same."""
        return not self.differences and not self.undecided

    def __str__(self) -> str:
        """Return the causes and the ten largest differences."""
        if self.ok:
            return f"the same on {', '.join(f'{count} ({name})' for name, count in self.compared)} devices"
        largest = sorted(self.differences, key=lambda one: -one.error)[:10]
        lines = [
            f"{one.leaf} on {one.devices} devices ({one.strategy}), step {one.steps}: "
            f"differs by {one.error:.2g}, allowed {one.allowed:.2g}"
            for one in largest
        ]
        more = len(self.differences) - len(largest)
        return "\n".join([*self.causes, *self.undecided, *lines, *([f"and {more} more"] if more else [])])


def check_device_invariance(
    step: Callable[..., tuple[Any, Any]],
    state: Any,
    batches: Sequence[Any],
    key: Any,
    *,
    strategies: Sequence[str] = STRATEGIES,
    counts: Sequence[int] | None = None,
    parallel: Callable[..., Parallel] = data_parallel,
    rtol: float = RTOL,
    rtol_last: float = RTOL_LAST,
) -> Invariance:
    """Compare a step's results on several devices with those on one.

    Use float32 or wider, and an optimizer whose update is in proportion to the gradient, such as SGD: Adam divides by
    the gradient's size, so that a gradient that is 0 up to rounding moves a parameter by the whole rate.

    Args:
        step: ``step(state, batch, key, *, axis_name) -> (state, metrics)``, as from `train_step`.
        state: any pytree; it is copied.
        batches: one or more batches, pytrees of arrays with equal first axes (B, ...), for as many steps in a row.
        key: random key, passed to every step.
        strategies: some of `STRATEGIES`.
        counts: numbers of devices; by default 1, 2, 4 and 8, as far as there are as many and they divide B.
        parallel: called as ``parallel(step, strategy=..., devices=count)``, also for "jit" on one device. Pass a
            function that returns your own `Parallel` to check a loop that distributes batches in its own way.
        rtol: bound for the first step, relative to the largest change of each leaf, or to the largest value of a
            metric. Whole numbers (integer leaves and metrics that are whole on one device) must be equal.
        rtol_last: bound after the last step.

    Returns:
        An `Invariance`: its ``ok``, and ``str()`` of it for the differences and their causes. A step that draws random
        numbers per device, as dropout does under "pmap" and "shard_map", is undecided there: check it without dropout,
        or under "jit" alone, which draws the same numbers on any number of devices.

    Raises:
        ValueError: without a batch or an example, if no more than one device is there, and as `data_parallel` does.

    Example:
        >>> step = training.train_step(net, optax.sgd(0.1))  # doctest: +SKIP
        >>> print(training.check_device_invariance(step, state, [batch], jax.random.key(0)))  # doctest: +SKIP
        the same on 1 (pmap), 2 (pmap), 4 (pmap), 8 (pmap) devices
    """
    batches = list(batches)
    if not batches or not jax.tree.leaves(batches[0]):
        raise ValueError(f"batches: got {len(batches)}, must hold at least one batch with an array")
    counts = _counts(counts, batches[0])
    on_one = _Runs(parallel(step, strategy="jit", devices=1), state, key)
    expected = on_one.trajectory(batches)
    compared = tuple((strategy, count) for strategy in strategies for count in counts)
    start, differences, causes, undecided = _flat(state), [], [], []
    for strategy, count in compared:
        several = _Runs(parallel(step, strategy=strategy, devices=count), state, key)
        found = several.trajectory(batches)
        wrong = [
            Difference(strategy, count, steps, *one)
            for steps, bound in {1: rtol, len(batches): rtol if len(batches) == 1 else rtol_last}.items()
            for one in _differing(found[steps - 1], expected[steps - 1], start, bound)
        ]
        if not wrong:
            continue
        draws = strategy != "jit" and on_one.random(batches[0])
        why = _causes(on_one, several, KEYS if draws else 1, count, batches[0], start)
        where = f"on {count} devices ({strategy})"
        if why or not draws:
            differences += wrong
            causes += [f"{where}: {one}" for one in why]
        else:
            undecided.append(f"{where}: {_DRAWS}")
    return Invariance(compared, tuple(differences), tuple(causes), tuple(undecided))


def assert_device_invariance(*args: Any, **options: Any) -> None:
    """Raise AssertionError with the differences that `check_device_invariance` finds; it has the same arguments."""
    found = check_device_invariance(*args, **options)
    if not found.ok:
        raise AssertionError(str(found))


Flat = dict[str, np.ndarray]  # path -> array


class _Runs(NamedTuple):
    """A compiled step with the state and the key that every trajectory begins with."""

    parallel: Parallel
    state: Any
    key: Any

    def trajectory(self, batches: Sequence[Any], key: Any = None) -> list[Flat]:
        """Return what each of some steps in a row returns."""
        state, found = self.parallel.place(self.state), []
        key = self.parallel.place(self.key if key is None else key)
        for batch in batches:
            state, metrics = self.parallel.step(state, self.parallel.shard(batch), key)
            found.append(_flat(state) | {f"metrics{path}": leaf for path, leaf in _flat(metrics).items()})
        return found

    def on(self, batch: Any) -> Flat:
        """Return what one step on this batch returns."""
        return self.trajectory([batch])[0]

    def random(self, batch: Any) -> bool:
        """Return whether the key makes a difference."""
        other = self.trajectory([batch], jax.random.fold_in(self.key, 1))[0]
        return any(not np.array_equal(leaf, other[path], equal_nan=True) for path, leaf in self.on(batch).items())


def _counts(counts: Sequence[int] | None, batch: Any) -> list[int]:
    if counts is not None:
        return list(counts)
    there, size = len(jax.devices()), _size(batch)
    if there == 1:
        raise ValueError(
            "counts: got None, and there is 1 device; on CPU, JAX_NUM_CPU_DEVICES=8 in the environment makes 8 of it"
        )
    return [count for count in (1, 2, 4, 8) if count <= there and size % count == 0]


def _size(batch: Any) -> int:
    return len(jax.tree.leaves(batch)[0])


def _flat(tree: Any) -> Flat:
    def numbers(leaf: Any) -> np.ndarray:
        is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if is_key else leaf)

    return {keystr(path): numbers(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _differing(found: Flat, expected: Flat, start: Flat, rtol: float) -> Iterator[tuple[str, float, float]]:
    """Yield path, error and bound of every leaf beyond its bound."""
    for path, wanted in expected.items():
        leaf = found[path]
        if leaf.shape != wanted.shape:
            raise ValueError(f"{path}: got shape {leaf.shape} on several devices, must be {wanted.shape} as on one")
        error, bound = _error(leaf, wanted, start.get(path), rtol)
        if not error <= bound:
            yield path, error, bound


def _error(leaf: np.ndarray, wanted: np.ndarray, before: np.ndarray | None, rtol: float) -> tuple[float, float]:
    """Return the largest difference over the leaf's largest change, and the bound that rounding allows."""
    if not wanted.size or np.array_equal(leaf, wanted, equal_nan=jnp.issubdtype(wanted.dtype, jnp.inexact)):
        return 0.0, rtol
    if not jnp.issubdtype(wanted.dtype, jnp.inexact) or (before is None and np.all(wanted == np.round(wanted))):
        return float(np.abs(leaf.astype(np.float64) - wanted).max()), 0.0
    kind = np.complex128 if np.iscomplexobj(wanted) else np.float64
    leaf, exact = leaf.astype(kind), wanted.astype(kind)
    size = np.abs(exact).max()
    change = size if before is None else np.abs(exact - before.astype(kind)).max()
    # a change is known to the rounding of the leaf that it changes
    rounding = 0.0 if before is None else 2 * float(jnp.finfo(wanted.dtype).eps) * size
    error = np.abs(leaf - exact).max() / max(change, np.finfo(np.float64).tiny)
    return float(error), float(rtol + rounding / max(change, np.finfo(np.float64).tiny))


def _same(found: Flat, expected: Flat, paths: Sequence[str], start: Flat) -> list[str]:
    """Return those of the paths on which both agree to 1e-4 of the change."""

    def agrees(path: str) -> bool:
        error, bound = _error(found[path], expected[path], start.get(path), 1e-4)
        return error <= bound

    return [path for path in paths if agrees(path)]


def _causes(on_one: _Runs, several: _Runs, keys: int, count: int, batch: Any, start: Flat) -> list[str]:
    """Return a sentence for each known fault that explains the results of the first step, under each of some keys."""
    found = None
    for key in [on_one.key, *(jax.random.fold_in(on_one.key, again) for again in range(1, keys))]:
        now = [*_explanations(on_one._replace(key=key), several._replace(key=key), count, batch, start)]
        found = now if found is None else [cause for cause in found if cause in now]
        if not found:
            break
    return found or []


def _explanations(on_one: _Runs, several: _Runs, count: int, batch: Any, start: Flat) -> Iterator[str]:
    found, expected = several.on(batch), on_one.on(batch)
    wrong = [path for path, *_ in _differing(found, expected, start, 1e-4)]
    for times, words in ((count, f"{count} times"), (1 / count, f"1/{count} of")):
        scaled = {path: _scaled(expected[path], start.get(path), float(times)) for path in wrong}
        if paths := [path for path in _same(found, scaled, wrong, start) if np.any(expected[path] != start.get(path))]:
            yield (
                f"{_listed(paths)} changes {words} what one device gives: take the mean over all examples once, as "
                "psum(sum of losses) / psum(weights)"
            )
    size = _size(batch)
    part = jax.tree.map(lambda leaf: leaf[: size // count], batch)
    alone = on_one.on(part)
    if local := _same(
        found, alone, [path for path in wrong if path not in _same(expected, alone, wrong, start)], start
    ):
        yield f"{_listed(local)} is that of the first device's part alone: reduce it over axis_name"
    if size % count:
        whole = jax.tree.map(lambda leaf: leaf[: size // count * count], batch)
        if _same(found, on_one.on(whole), wrong, start) == wrong:
            yield f"the last {size % count} of {size} examples are dropped: pad the batch with examples of weight 0"
    equal = jax.tree.map(lambda leaf: jnp.concatenate([jnp.asarray(leaf)] * count), part)
    paths = [path for path in expected if path in start and np.any(expected[path] != start[path])]
    by_row = [path for path in paths if path not in _same(on_one.on(equal), alone, paths, start)]
    if by_row and on_one.random(equal) and _same(several.on(equal), alone, by_row, start) == by_row:
        yield "every device draws the same random numbers, such as dropout masks: fold axis_index into the key"


def _scaled(leaf: np.ndarray, before: np.ndarray | None, times: float) -> np.ndarray:
    """Return a leaf whose change is ``times`` as large."""
    base = np.zeros_like(leaf) if before is None else before
    return np.asarray(base + times * (leaf.astype(np.float64) - base), leaf.dtype)


def _listed(paths: Sequence[str]) -> str:
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
