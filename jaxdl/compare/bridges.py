"""Optimizers of PyTorch and Keras as optax's GradientTransformations, so that any two implementations can be compared.

They are meant for comparisons, not for training. PyTorch's run on the host at every step, as do Keras's unless its
backend is JAX: a new optimizer receives the state as bytes, takes one step, and gives the state back, which takes
about a millisecond. An update is the new parameter minus the old one. It is exact where a parameter changes by less
than half of itself, and rounded to the parameter's precision otherwise.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl.extras import need

EXTRA = "bridges"
PROBE_STEPS = 3


class BridgeState(NamedTuple):
    """The state of an optimizer from another framework."""

    count: jax.Array  # (), int32: updates so far
    values: Any  # that framework's state: bytes (n,), uint8, or a tuple of arrays where it runs on JAX


class Host(NamedTuple):
    """An optimizer that takes one step on the host, on numpy arrays; its state is bytes."""

    size: Callable[[Sequence[np.ndarray]], int]  # params -> bytes of state
    step: Callable[[int, list[np.ndarray], list[np.ndarray], bytes], tuple[list[np.ndarray], bytes]]


def torch_optimizer(factory: Callable[..., Any], **keywords: Any) -> optax.GradientTransformation:
    """Return a PyTorch optimizer as a GradientTransformation. It is slow: a callback to the host at every step.

    All that the optimizer keeps in ``state`` and ``param_groups`` is carried, and nothing else. ``init`` tries whether
    that suffices.

    Args:
        factory: a class such as ``torch.optim.Adam``, or a function of a list of parameters that returns an optimizer.
        **keywords: the factory's, such as ``lr``.

    Raises:
        ImportError: PyTorch is not installed.
        ValueError: the factory does not take the keywords. ``init`` raises it if the factory returns something else
            than an optimizer, if a step needs more than gradients, as that of LBFGS does, and if the optimizer keeps
            numbers elsewhere or draws random ones. ``update`` raises it without ``params``.

    Example: ``compare.same(compare.torch_optimizer(torch.optim.Adam, lr=0.01), optax.adam(0.01))``.
    """
    torch = need("torch", purpose="torch_optimizer", extra=EXTRA)
    _check_keywords("torch_optimizer", factory, (None,), keywords)
    return _callback(_torch_host(torch, factory, keywords))


def keras_optimizer(factory: Callable[..., Any], **keywords: Any) -> optax.GradientTransformation:
    """Return a Keras optimizer as a GradientTransformation. It is slow unless Keras's backend is JAX.

    Args:
        factory: a class such as ``keras.optimizers.Adam``, or a function that returns an optimizer.
        **keywords: the factory's, such as ``learning_rate``.

    Raises:
        ImportError: Keras is not installed.
        ValueError: the factory does not take the keywords, or returns something else than an optimizer. ``update``
            raises it without ``params``.
    """
    keras = need("keras", purpose="keras_optimizer", extra=EXTRA)
    _check_keywords("keras_optimizer", factory, (), keywords)

    def make():
        made = factory(**keywords)
        if not isinstance(made, keras.optimizers.Optimizer):
            raise ValueError(f"keras_optimizer: {_name(factory)} returned {type(made).__name__}, not an optimizer")
        return made

    make()
    if keras.backend.backend() == "jax":
        return _keras_on_jax(keras, make)
    return _callback(_keras_host(keras, make))


def bridged(factory: Callable[..., Any]) -> Callable[..., Any]:
    """Return a factory of GradientTransformations for a class of optimizers of PyTorch or Keras; keep any other."""
    bases = inspect.getmro(factory) if inspect.isclass(factory) else ()
    found = {(base.__module__.partition(".")[0], base.__name__) for base in bases}
    bridge = torch_optimizer if ("torch", "Optimizer") in found else keras_optimizer
    if not found & {("torch", "Optimizer"), ("keras", "Optimizer")}:
        return factory
    made = functools.partial(bridge, factory)
    parameters = [p for p in inspect.signature(factory).parameters.values() if p.name != "params"]
    made.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    made.__name__ = _name(factory)  # type: ignore[attr-defined]
    return made


# ---------------------------------------------------------------- the callback


def _callback(host: Host) -> optax.GradientTransformation:
    """Build the transformation of an optimizer that steps on the host."""

    def init(params):
        shapes = [jnp.asarray(leaf) for leaf in jax.tree.leaves(params)]
        size = host.size([np.zeros(leaf.shape, leaf.dtype) for leaf in shapes])
        return BridgeState(jnp.zeros((), jnp.int32), jnp.zeros(size, jnp.uint8))

    def update(updates, state, params=None):
        leaves, grads, treedef = _flat(updates, params)
        kinds = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]

        def on_host(count, leaves, grads, values):
            # copies, because the other framework may write into its arrays
            new, after = host.step(int(count), [*map(np.array, leaves)], [*map(np.array, grads)], bytes(values))
            return [np.asarray(x, kind.dtype) for x, kind in zip(new, kinds, strict=True)], np.frombuffer(after, "u1")

        result = kinds, jax.ShapeDtypeStruct(state.values.shape, jnp.uint8)
        new, values = jax.pure_callback(
            on_host, result, state.count, leaves, grads, state.values, vmap_method="sequential"
        )
        return _moved(treedef, new, leaves), BridgeState(state.count + 1, values)

    return optax.GradientTransformation(init, update)


def _flat(updates, params):
    """Return the leaves of parameters and gradients, the latter in the former's dtypes, and the tree's structure."""
    if params is None:
        raise ValueError("params=None: an optimizer of another framework needs the parameters")
    leaves, treedef = jax.tree.flatten(jax.tree.map(jnp.asarray, params))
    grads = [g.astype(p.dtype) for g, p in zip(map(jnp.asarray, jax.tree.leaves(updates)), leaves, strict=True)]
    return leaves, grads, treedef


def _moved(treedef, new, old):
    return jax.tree.unflatten(treedef, [x - y for x, y in zip(new, old, strict=True)])


def _check_keywords(bridge: str, factory: Callable[..., Any], args: tuple, keywords: dict[str, Any]) -> None:
    try:
        inspect.signature(factory).bind(*args, **keywords)
    except TypeError as error:
        raise ValueError(f"{bridge}: {_name(factory)} does not take the keywords {keywords}: {error}") from error


def _name(factory: Any) -> str:
    return getattr(factory, "__name__", repr(factory))


# ---------------------------------------------------------------- PyTorch


def _torch_host(torch: Any, factory: Callable[..., Any], keywords: dict[str, Any]) -> Host:
    who = f"torch_optimizer: {_name(factory)}"

    def make(params):
        leaves = [torch.nn.Parameter(_tensor(torch, p)) for p in params]
        made = factory(leaves, **keywords)
        if not isinstance(made, torch.optim.Optimizer):
            raise ValueError(f"{who} returned {type(made).__name__}, not an optimizer")
        return leaves, made

    def advance(leaves, made, grads):
        for leaf, grad in zip(leaves, grads, strict=True):
            leaf.grad = _tensor(torch, grad)
        made.step()
        return [_numpy(torch, leaf) for leaf in leaves]

    @functools.cache
    def layout(kinds):
        """Return the state after one step with parameters of these shapes, as leaves and structure."""
        params = [np.ones(shape, dtype) for shape, dtype in kinds]
        leaves, made = make(params)
        advance(leaves, made, params)
        return jax.tree.flatten(_kept(leaves, made))

    def step(count, params, grads, values):
        leaves, made = make(params)
        if count:
            entries, treedef = layout(_kinds(params))
            _restore(leaves, made, treedef.unflatten(_unpack(torch, entries, values)))
        new = advance(leaves, made, grads)
        return new, _pack(torch, jax.tree.leaves(_kept(leaves, made)))

    return Host(lambda params: _size(who, make, advance, step, params), step)


def _size(who, make, advance, step, params) -> int:
    """Return the bytes of state; refuse an optimizer that steps otherwise when its state is carried."""
    try:
        size = _tried(make, advance, step, params)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{who} does not step on gradients alone: {error}") from error
    if size is None:
        raise ValueError(f"{who} draws random numbers, or keeps some outside of its state and its groups")
    return size


def _tried(make, advance, step, params) -> int | None:
    """Return the bytes of state if steps with a carried state are those of an optimizer that stays, else None."""
    rng = np.random.default_rng(0)
    draw = lambda: [rng.normal(size=p.shape).astype(p.dtype) for p in params]
    start = draw()
    leaves, made = make([*map(np.array, start)])
    carried, values, sizes = start, b"", set()
    for count in range(PROBE_STEPS):
        grads = draw()
        expected = advance(leaves, made, [*map(np.array, grads)])
        carried, values = step(count, [*map(np.array, carried)], grads, values)
        sizes.add(len(values))
        if any(x.tobytes() != y.tobytes() for x, y in zip(expected, carried, strict=True)):
            return None
    return sizes.pop() if len(sizes) == 1 else None


def _kinds(params) -> tuple:
    return tuple((p.shape, p.dtype) for p in params)


def _kept(leaves, made) -> Any:
    """Return everything that a PyTorch optimizer declares as its state."""
    groups = [{name: value for name, value in group.items() if name != "params"} for group in made.param_groups]
    return {"state": [dict(made.state[leaf]) for leaf in leaves], "groups": groups}


def _restore(leaves, made, kept) -> None:
    for leaf, state in zip(leaves, kept["state"], strict=True):
        made.state[leaf] = state
    for group, values in zip(made.param_groups, kept["groups"], strict=True):
        group.update(values)


def _pack(torch, entries) -> bytes:
    numbers = (_numpy(torch, entry) for entry in entries if _is_number(torch, entry))
    return b"".join(array.tobytes() for array in numbers)


def _unpack(torch, entries, values: bytes) -> list[Any]:
    """Return entries like those given with the numbers that the bytes hold; text and functions stay."""
    found, start = [], 0
    for entry in entries:
        if not _is_number(torch, entry):
            found.append(entry)
            continue
        like = _numpy(torch, entry)
        array = np.frombuffer(values[start : start + like.nbytes], like.dtype).reshape(like.shape).copy()
        start += like.nbytes
        found.append(_tensor(torch, array) if torch.is_tensor(entry) else type(entry)(array.item()))
    return found


def _is_number(torch, entry) -> bool:
    return torch.is_tensor(entry) or isinstance(entry, (bool, int, float))


def _tensor(torch, array: np.ndarray) -> Any:
    if array.dtype == jnp.bfloat16:  # numpy's bfloat16 is none that PyTorch knows
        return torch.from_numpy(np.array(array).view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.array(array))


def _numpy(torch, entry) -> np.ndarray:
    if not torch.is_tensor(entry):
        return np.asarray(entry)
    tensor = entry.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().view(jnp.bfloat16)
    return tensor.numpy()


# ---------------------------------------------------------------- Keras


def _keras_built(keras: Any, make: Callable[[], Any], params: Sequence[np.ndarray]) -> tuple[Any, list[Any]]:
    variables = [keras.Variable(p, dtype=str(p.dtype)) for p in params]
    made = make()
    made.build(variables)
    return made, variables


def _keras_host(keras: Any, make: Callable[[], Any]) -> Host:
    numpy = lambda variable: keras.ops.convert_to_numpy(variable.value)

    def size(params):
        made, _ = _keras_built(keras, make, params)
        return sum(numpy(variable).nbytes for variable in made.variables)

    def step(count, params, grads, values):
        made, variables = _keras_built(keras, make, params)
        start = 0
        for variable in made.variables if count else ():
            like = numpy(variable)
            variable.assign(np.frombuffer(values[start : start + like.nbytes], like.dtype).reshape(like.shape).copy())
            start += like.nbytes
        made.apply([keras.ops.convert_to_tensor(g) for g in grads], variables)
        return [numpy(v) for v in variables], b"".join(numpy(v).tobytes() for v in made.variables)

    return Host(size, step)


def _keras_on_jax(keras: Any, make: Callable[[], Any]) -> optax.GradientTransformation:
    """Build the transformation of a Keras optimizer on JAX, which needs no callback."""

    @functools.cache
    def built(kinds):
        with jax.ensure_compile_time_eval():
            return _keras_built(keras, make, [np.zeros(shape, dtype) for shape, dtype in kinds])[0]

    def init(params):
        made = built(_kinds([jnp.asarray(leaf) for leaf in jax.tree.leaves(params)]))
        values = tuple(jnp.asarray(variable.value) for variable in made.variables)
        return BridgeState(jnp.zeros((), jnp.int32), values)

    def update(updates, state, params=None):
        leaves, grads, treedef = _flat(updates, params)
        new, values = built(_kinds(leaves)).stateless_apply(list(state.values), grads, leaves)
        return _moved(treedef, new, leaves), BridgeState(state.count + 1, tuple(values))

    return optax.GradientTransformation(init, update)
