"""Is it the same algorithm? Run two optimizers side by side and print the verdict, the cause and a map of keywords.

    python -m experiments.same mine:opt optax.adam
    python -m experiments.same "jaxdl.adam(convention='keras')" "optax.adam(eps=1e-7)"
    python -m experiments.same torch.optim:NAdam "jaxdl.nadam(convention='torch')"   # pip install 'jaxdl[bridges]'
    python -m experiments.same mine:accumulating_four optax.adam --micro-batches 4 1
    KERAS_BACKEND=jax python -m experiments.same keras.optimizers:Adam "jaxdl.adam(convention='keras')"

Both run on the same gradients: entries of sizes from 1e-10 to 10, sparse ones, and random ones. The exit code is 0 if
they are equivalent, 1 if they differ and 2 after a mistake. In your own tests, use `jaxdl.compare.assert_equivalent`.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import tyro

from jaxdl import compare
from jaxdl.compare import bridges
from jaxdl.runs import commandline, names


@dataclasses.dataclass(frozen=True)
class Config:
    """The two optimizers."""

    first: Annotated[str, tyro.conf.Positional]
    """jaxdl.NAME, optax.NAME, optax.contrib.NAME or package.module:function, optionally with keywords. The function may
    be a class of optimizers of PyTorch or Keras."""
    second: Annotated[str, tyro.conf.Positional]
    """Likewise."""
    learning_rate: float = 0.01
    """Learning rate of each optimizer whose keywords do not set one."""
    micro_batches: tuple[int, int] = (1, 1)
    """In how many parts the first and the second get each batch: 4 1 compares one that accumulates four gradients, such
    as optax.MultiSteps, with one that gets their mean."""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, compare, print the verdict, and return the exit code."""
    config = commandline.parse(Config, argv, description=__doc__, prog="python -m experiments.same")
    if not config.learning_rate > 0:
        raise ValueError(f"learning_rate={config.learning_rate} is not allowed: it must be above 0")
    commandline.use_compilation_cache()
    try:
        first = side("first", config.first, config.learning_rate)
        second = side("second", config.second, config.learning_rate)
        found = compare.same(first, second, micro_batches=config.micro_batches)
    except names.CODE_ERRORS as error:
        if isinstance(error, ValueError):
            raise
        raise ValueError(f"an optimizer raised {type(error).__name__}: {error}") from error
    print("\n".join(described(found, "gradient" if max(config.micro_batches) == 1 else "batch")))
    return int(found.verdict == "different")


def described(found: compare.Sameness, unit: str = "gradient") -> list[str]:
    """Return the lines that are printed about a comparison, whose steps are gradients or batches of several."""
    streams = ", ".join(found.records)
    if found.stream is None:
        lines = [f"verdict: {found.verdict} on these streams: {streams}"]
        unseen = [f"{name}: {a!r:.60} against {b!r:.60}" for name, (a, b) in found.unseen.items()]
        return [*lines, "not exercised: " + ("; ".join(unseen) or "no keyword that is known to differ")]
    record = found.records[found.stream]
    numbers = ", ".join(f"{k}={v!r}" for k, v in (record.mapping or {}).items())
    place = f" of {record.leaf}" if record.leaf else ""
    return [
        f"verdict: different on the stream {found.stream} from {unit} {record.step} on, by {record.max_ulps:.3g} ulps"
        f" at most, first in the leaf{place}",
        f"cause: {record.cause}",
        f"map: {numbers} (of the first, to be the second)" if numbers else "map: no numbers for the first are known",
    ]


def side(argument: str, text: str, learning_rate: float) -> Any:
    """Return an optimizer as `compare.equivalence` takes it: a pair of a factory and keywords.

    Raises:
        ValueError: the name is unknown, the function does not take the keywords, or it does not return an optimizer.
    """
    named = names.parse_optimizer(text)
    factory = names.function(argument, str(named), names.optimizer_names())
    if isinstance(factory, functools.partial):  # such as optax.nadam, whose keywords make it another algorithm
        plain = functools.partial(bridges.bridged(factory.func), *factory.args, **factory.keywords)
    else:
        plain = bridges.bridged(factory)
    keywords = dict(named.keywords)
    first = next(iter(inspect.signature(plain).parameters), None)
    if first is not None and first not in keywords and _takes_a_rate(plain, first):
        keywords[first] = learning_rate
    try:
        made = plain(**keywords)
    except TypeError as error:
        raise ValueError(f"{argument}={text!r} is called with {keywords}, but: {error}") from error
    if names.transformation(made) is None:
        raise ValueError(
            f"{argument}={text!r} returned {type(made).__module__}.{type(made).__name__}, "
            "not an optax.GradientTransformation"
        )
    return plain, keywords


def _takes_a_rate(factory: Callable[..., Any], first: str) -> bool:
    needed = inspect.signature(factory).parameters[first].default is inspect.Parameter.empty
    return needed or first in ("learning_rate", "lr")


if __name__ == "__main__":
    commandline.run_main(main)
