"""Runs of one optimizer on one problem over learning rates and seeds, in one program where that is faster.

A member is a pair of a learning rate and a seed. Under "vmap" both are traced arrays: all members advance in one
compiled `jax.lax.scan`, split over the devices if there are several. Under "loop" a Python loop calls one compiled
step per member and step. Members are independent, so both methods give the same runs up to rounding, as sums may be
taken in another order; the tests hold values and losses to a relative 1e-5 over tens of steps. A member whose loss is
not finite, or exceeds `DIVERGED` times its first loss, has diverged: it stays where it was while the others go on.
"""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from jaxdl import compat, optimizers
from jaxdl.optimizers.loops import descending, settled
from jaxdl.studies.problems import Problem, Tuning, evaluation_steps, loss_arguments, steps_between

Build = Callable[[Any], optax.GradientTransformation]  # from a learning rate, or settings; they may be traced

DIVERGED: Final = 1e3
"""A run whose training loss exceeds this many times the magnitude of its first one has diverged."""

METHODS: Final = ("vmap", "loop")
AXIS: Final = "members"


_Row = tuple[int, np.ndarray | None, dict[str, np.ndarray]]  # step, mean losses, measurements


class Member(NamedTuple):
    """One run of a sweep."""

    learning_rate: float
    seed: int
    settings: tuple[float, ...] = ()  # passed to `Build` in place of the rate, unless empty; equally many for all


class Method(NamedTuple):
    """How the members of a sweep are advanced, and the reason."""

    name: str  # one of METHODS
    reason: str


class Point(NamedTuple):
    """One evaluation of a run."""

    step: int  # updates done
    train_loss: float | None  # mean, with the penalty, over the steps since the last evaluation; None before the first
    value: float  # of the problem's test metric, lower is better
    accuracy: float | None


class Trace(NamedTuple):
    """The record of one member's run."""

    member: Member
    diverged: bool
    steps: int  # updates done; if it diverged, those before the loss that revealed it
    points: list[Point]  # evaluations from the start to the end, or to the last one before divergence
    seconds: float  # its share of the time of all members, without compilation and evaluation
    compile_seconds: float  # of the sweep's program if this was its first run, else 0


class Carry(NamedTuple):
    """The state of one member between steps; under "vmap" each leaf has a leading axis of members."""

    params: Any  # in the optimizer's form; see `optimizers.start_params`
    state: Any
    opt_state: Any
    alive: Any  # bool: the member has not diverged
    limit: Any  # the training loss that counts as divergence
    steps: Any  # int32: updates done


class Placed(NamedTuple):
    """A problem on its devices, with the programs that all optimizers share."""

    problem: Problem
    method: str
    data: Any
    start: Callable[[Any], tuple[Any, Any]]  # seed(s) -> (params, state)
    evaluate: Callable[..., dict[str, Any]]  # (params, state, data) -> metrics
    split: NamedSharding  # sharding of arrays with an axis of members
    devices: int


def choose_method(problem: Problem, *, platform: str | None = None) -> Method:
    """Choose how members are advanced.

    Under vmap, a convolution with one kernel per member becomes a grouped convolution, for which XLA has no fast code
    on CPU: there the loop was 1.0, 2.9 and 8.3 times as fast (2c2d, 3c3d, ResNet-20). Where oneDNN computes all of a
    problem's convolutions, one program is as fast as the loop. Small problems spend most of their time in calls: one
    program was 3 to 6 times as fast (digits, quadratic_deep). ``benchmarks/sweeps.md`` has both, measured by
    ``python -m benchmarks.sweeps``.

    Args:
        problem: the problem; its loss is traced but not run.
        platform: "cpu", "gpu" or "tpu"; None is that of the default device.

    Examples:
        >>> from jaxdl import studies
        >>> sweep.choose_method(studies.digits_softmax(), platform="cpu").name
        'vmap'
    """
    platform = platform or jax.devices()[0].platform
    if platform == "cpu" and _has_xlas_convolutions(problem):
        return Method(
            "loop", "XLA's convolutions with a kernel per run are several times slower on cpu than runs in turn"
        )
    return Method("vmap", f"all runs in one program lose less time to small calls on {platform}")


def place(problem: Problem, *, method: str = "vmap", devices: Sequence[Any] | None = None) -> Placed:
    """Put a problem's data on its devices and prepare everything that does not depend on an optimizer.

    Args:
        problem: the problem.
        method: "vmap" or "loop".
        devices: devices over which members are split under "vmap"; the first device by default.

    Raises:
        ValueError: the method is another one, or there are several devices under "loop".
    """
    devices = list(devices) if devices is not None else jax.devices()[:1]
    if method not in METHODS:
        raise ValueError(f"method={method!r}: allowed are {', '.join(METHODS)}")
    if method == "loop" and len(devices) > 1:
        raise ValueError(f"devices: got {len(devices)}, allowed is 1 where members run one after another")
    mesh = compat.data_mesh(devices, AXIS)
    split, shared = NamedSharding(mesh, PartitionSpec(AXIS)), NamedSharding(mesh, PartitionSpec())

    def start(seed):
        return problem.init(jax.random.split(jax.random.key(seed))[0])

    over = jax.vmap if method == "vmap" else lambda f, *_: f
    return Placed(
        problem,
        method,
        jax.device_put(problem.data, shared),
        jax.jit(over(start)),
        jax.jit(over(problem.evaluate, (0, 0, None))),
        split,
        len(devices),
    )


def on_tuning(placed: Placed, tuning: Tuning) -> Placed:
    """Return a placed problem with the batches and arrays of tuning; arrays that both share are not copied."""
    shared = dict(zip(map(id, jax.tree.leaves(placed.problem.data)), jax.tree.leaves(placed.data), strict=True))
    place_ = NamedSharding(placed.split.mesh, PartitionSpec())
    found = jax.tree.map(
        lambda leaf: shared[id(leaf)] if id(leaf) in shared else jax.device_put(leaf, place_), tuning.data
    )
    return placed._replace(problem=placed.problem._replace(batches=tuning.batches, data=tuning.data), data=found)


class Sweep:
    """One optimizer on one problem, for groups of a fixed number of members.

    Args:
        placed: the problem.
        build: makes the optimizer from a learning rate, which is traced. It may ask for anything that
            `optimizers.update` offers except ``model_fn`` and ``loss_fn``.
        width: members per group under "vmap"; smaller groups are padded with copies, so that one program serves all.

    Raises:
        ValueError: the width is not a positive multiple of the number of devices.
    """

    def __init__(self, placed: Placed, build: Build, *, width: int = 1) -> None:
        if width < 1 or width % placed.devices:
            raise ValueError(f"width={width}: must be a positive multiple of the {placed.devices} devices")
        self.placed, self.build, self.width = placed, build, width
        self._programs: dict[Any, Any] = {}  # by the number of steps and the shapes of the data
        self._judged = jax.jit(optimizers.eval_params if placed.method == "loop" else jax.vmap(optimizers.eval_params))

    def on(self, placed: Placed) -> Sweep:
        """Return this sweep on other arrays of its problem, with which it shares programs; see `on_tuning`."""
        other = copy.copy(self)
        other.placed = placed
        return other

    def run(
        self,
        members: Sequence[Member],
        steps: int,
        *,
        stop: Callable[[], bool] = lambda: False,
        watch: Callable[[int, Carry], None] = lambda step, carry: None,
    ) -> list[Trace]:
        """Run members for a number of steps each.

        Args:
            members: at least one; under "vmap" at most ``width``.
            steps: updates per member.
            stop: called after each evaluation; if it returns True, the traces end there. Under "loop" it is also called
                after each step, so that it can raise without waiting for an evaluation.
            watch: called after each evaluation with the number of steps and the state, whose buffers the next step
                takes; under "vmap" with that of all members.

        Raises:
            ValueError: there are no members, or too many.
        """
        vmapped = self.placed.method == "vmap"
        if not members or (vmapped and len(members) > self.width):
            raise ValueError(f"members: got {len(members)}, allowed are 1 to {self.width}")
        if not vmapped:
            return [trace for member in members for trace in self._run([member], 1, steps, stop, watch)]
        return self._run([*members, *[members[-1]] * (self.width - len(members))], len(members), steps, stop, watch)

    def _run(
        self,
        filled: list[Member],
        count: int,
        steps: int,
        stop: Callable[[], bool],
        watch: Callable[[int, Carry], None],
    ) -> list[Trace]:
        problem, carry = self.placed.problem, self._start(filled)
        carry, row = self._evaluate(carry)
        watch(0, carry)
        rows: list[_Row] = [(0, None, row)]
        seconds = compile_seconds = 0.0
        first = 0
        for last in evaluation_steps(problem, steps):
            arguments = self._arguments(filled, first, last)
            compile_seconds += self._compile(carry, arguments, last - first)
            began = time.perf_counter()
            carry, losses = self._advance(carry, arguments, last - first, stop)
            seconds += time.perf_counter() - began
            carry, row = self._evaluate(carry)
            watch(last, carry)
            rows.append((last, losses, row))
            first = last
            if stop() or not row["alive"].any():
                break
        taken = seconds / len(filled)
        return [_trace(filled[i], rows, i, taken, compile_seconds) for i in range(count)]

    def _start(self, members: list[Member]) -> Carry:
        (rates, seeds), problem = _columns(members), self.placed.problem
        loss = jax.eval_shape(problem.loss, *loss_arguments(problem))[0]  # optimizers may keep it, float64 under x64
        value_fn = functools.partial(_total, dtype=loss.dtype)

        def make(params, state, rate):
            optimizer = self.build(rate)
            gradient, params = params, optimizers.start_params(optimizer, params)
            opt_state = settled(optimizer, gradient, params, value=value_fn(gradient), value_fn=value_fn)
            return Carry(params, state, opt_state, jnp.array(True), jnp.float32(jnp.inf), jnp.int32(0))

        if self.placed.method == "loop":
            carry = make(*self.placed.start(seeds[0]), jnp.asarray(rates[0]))  # optax injects no numpy scalar
        else:
            split = self.placed.split
            carry = jax.vmap(make)(*self.placed.start(jax.device_put(seeds, split)), jax.device_put(rates, split))
            carry = jax.device_put(carry, split)
        return jax.tree.map(jnp.copy, carry)  # the first step donates these buffers, so no two leaves may share one

    def _arguments(self, members: list[Member], first: int, last: int) -> tuple[Any, ...]:
        """Return rates, seeds and batches of steps ``first`` to ``last - 1``, and the number of the first step."""
        rates, seeds = _columns(members)
        drawn = {seed: steps_between(self.placed.problem, seed, first, last) for seed in {m.seed for m in members}}
        batches = [drawn[member.seed] for member in members]
        if self.placed.method == "loop":
            return rates[0], seeds[0], batches[0], np.int32(first)
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
        return (*jax.device_put((rates, seeds, stacked), self.placed.split), np.int32(first))

    def _compile(self, carry: Carry, arguments: tuple[Any, ...], steps: int) -> float:
        """Compile the program that advances a carry by so many steps, if needed, and return the seconds it took."""
        began, key = time.perf_counter(), self._key(steps)
        if key in self._programs:
            return 0.0
        options: dict[str, Any] = {"donate_argnums": 0}
        if self.placed.method == "vmap":
            chunk = jax.vmap(_scan(self.placed.problem, self.build), (0, 0, 0, 0, None, None))
            options["out_shardings"] = self.placed.split
        else:
            chunk, arguments = _step(self.placed.problem, self.build), _single(arguments, 0)
        program = jax.jit(chunk, **options).lower(carry, *arguments, self.placed.data)
        self._programs[key] = program.compile()
        return time.perf_counter() - began

    def _key(self, steps: int) -> Any:
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(self.placed.data))
        return (steps if self.placed.method == "vmap" else 1), shapes

    def _advance(
        self, carry: Carry, arguments: tuple[Any, ...], steps: int, stop: Callable[[], bool]
    ) -> tuple[Carry, np.ndarray]:
        """Return the carry after the steps and the mean training loss of each member."""
        data = self.placed.data
        if self.placed.method == "vmap":
            carry, losses = self._programs[self._key(steps)](carry, *arguments, data)
            return carry, np.asarray(losses)
        losses = []
        for i in range(steps):
            carry, loss = self._programs[self._key(1)](carry, *_single(arguments, i), data)
            losses.append(loss)
            stop()
        return carry, np.asarray(jnp.stack(losses).mean())[None]

    def _evaluate(self, carry: Carry) -> tuple[Carry, dict[str, np.ndarray]]:
        """Return the metrics of each member; a member whose value is not finite has diverged."""
        found = self.placed.evaluate(self._judged(carry.opt_state, carry.params), carry.state, self.placed.data)
        alive = carry.alive & jnp.isfinite(found["value"])
        carry = carry._replace(alive=jax.device_put(alive, self.placed.split) if alive.ndim else alive)
        row = {**found, "alive": carry.alive, "steps": carry.steps}
        return carry, {name: np.atleast_1d(x) for name, x in jax.device_get(row).items()}


def _step(problem: Problem, build: Build) -> Callable[..., tuple[Carry, jax.Array]]:
    """Return one step of one member, which changes nothing once the member has diverged."""

    def step(carry: Carry, rate, seed, batch, index, data):
        key = jax.random.fold_in(jax.random.split(jax.random.key(seed))[1], index)
        gradient = jax.value_and_grad(problem.loss, has_aux=True)
        point = optimizers.gradient_point(carry.opt_state, carry.params)
        (loss, state), grads = gradient(point, carry.state, batch, data, key)
        updates, opt_state = optimizers.update(
            build(rate),
            descending(grads),
            carry.opt_state,
            carry.params,
            value=loss,
            value_fn=lambda params: problem.loss(params, carry.state, batch, data, key)[0],
        )
        params = optax.apply_updates(carry.params, updates)
        limit = jnp.where(carry.steps == 0, DIVERGED * jnp.abs(loss.astype(jnp.float32)), carry.limit)
        alive = carry.alive & jnp.isfinite(loss) & (loss <= limit)
        new = Carry(params, state, opt_state, alive, limit, carry.steps + 1)
        kept = carry._replace(alive=alive)
        return jax.tree.map(lambda a, b: jnp.where(alive, a, b), new, kept), loss

    return step


def _total(params: Any, dtype: Any) -> jax.Array:
    """Stand in for the loss where only shapes and dtypes matter."""
    return sum((jnp.sum(jnp.real(leaf), dtype=dtype) for leaf in jax.tree.leaves(params)), jnp.zeros((), dtype))


def _scan(problem: Problem, build: Build) -> Callable[..., tuple[Carry, jax.Array]]:
    """Return several steps of one member and the mean of their losses."""
    step = _step(problem, build)

    def scan(carry: Carry, rate, seed, batches, first, data):
        def body(carry, at):
            batch, offset = at
            return step(carry, rate, seed, batch, first + offset, data)

        count = jax.tree.leaves(batches)[0].shape[0]
        carry, losses = jax.lax.scan(body, carry, (batches, jnp.arange(count, dtype=jnp.int32)))
        return carry, losses.mean()

    return scan


def _single(arguments: tuple[Any, ...], offset: int) -> tuple[Any, ...]:
    rate, seed, batches, first = arguments
    return rate, seed, jax.tree.map(lambda leaf: leaf[offset], batches), np.int32(first + offset)


def _columns(members: Sequence[Member]) -> tuple[np.ndarray, np.ndarray]:
    rates = [member.settings or member.learning_rate for member in members]
    return np.array(rates, np.float32), np.array([member.seed for member in members], np.uint32)


def _trace(member: Member, rows: Sequence[_Row], i: int, seconds: float, compile_seconds: float) -> Trace:
    points = []
    for step, losses, row in rows:
        if row["alive"][i]:
            accuracy = float(row["accuracy"][i]) if "accuracy" in row else None
            train_loss = None if losses is None else float(losses[i])
            points.append(Point(step, train_loss, float(row["value"][i]), accuracy))
    last = rows[-1][2]
    return Trace(member, not last["alive"][i], int(last["steps"][i]), points, seconds, compile_seconds)


def _has_xlas_convolutions(problem: Problem) -> bool:
    """Return whether the lowered loss contains a convolution of XLA's; those of oneDNN are custom calls."""
    return "stablehlo.convolution" in jax.jit(problem.loss).lower(*loss_arguments(problem)).as_text()
