"""Is it the same algorithm on every stream that could tell? A verdict on two optimizers, and an assertion for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.compare import streams
from jaxdl.compare.causes import WORDS
from jaxdl.compare.equivalence import Equivalence, equivalence

STEPS: Final = 40
"""Steps of each default stream: beyond the first steps of bias corrections and of RAdam's rectification."""


class Sameness(NamedTuple):
    """The result of `same`."""

    verdict: str  # one of `VERDICTS`, over all streams; "different" if one of them tells the optimizers apart
    stream: str | None  # the first stream that tells them apart; None unless different
    records: dict[str, Equivalence]  # by stream, up to the first that tells them apart

    @property
    def cause(self) -> str | None:
        """Return the reason in words; None unless different."""
        return self.records[self.stream].cause if self.stream is not None else None

    @property
    def mapping(self) -> dict[str, Any] | None:
        """Return keywords that make the first equivalent to the second on the stream that tells them apart."""
        return self.records[self.stream].mapping if self.stream is not None else None

    @property
    def unseen(self) -> dict[str, tuple[Any, Any]]:
        """Return the keywords that differ but make no difference on any stream."""
        if self.stream is not None:
            return {}
        return next(iter(self.records.values())).unseen

    def __str__(self) -> str:
        if self.stream is not None:
            return f"on the stream {self.stream!r}: {self.records[self.stream]}"
        names = ", ".join(self.records)
        first = next(iter(self.records.values()))
        return f"{self.verdict} on the streams {names}{first.not_exercised()}"


def same(
    a: Any,
    b: Any,
    params: Any = None,
    *,
    gradients: Mapping[str, Iterable[Any]] | None = None,
    steps: int | None = None,
    micro_batches: tuple[int, int] = (1, 1),
) -> Sameness:
    """Decide whether two optimizers are one algorithm, on several streams, and if they are not, say why.

    Three streams of `STEPS` gradients are tried in order: "mixed", whose entries have sizes from 1e-10 to 10 and which
    exercises eps, its placement and initial accumulators; "sparse", of which nine entries in ten are 0; and "random",
    of entries from N(0, 1). A keyword that differs and makes no difference on any of them is named as not exercised.

    Args:
        a: a ``GradientTransformation`` or a pair ``(factory, keywords)``. See ``equivalence``.
        b: likewise.
        params: the starting point of both. The default has a matrix from N(0, 1) and a vector of zeros, next to which
            even small updates show.
        gradients: other streams by their names, each of trees like ``params``.
        steps: how many gradients of each stream to use; None uses all.
        micro_batches: in how many parts a and b get each batch; see ``equivalence``.

    Raises:
        ValueError: see ``equivalence``; also if ``gradients`` holds no stream.

    Examples:
        >>> compare.same(optax.sgd(0.1), optax.sgd(0.2), steps=2).verdict
        'different'
    """
    if gradients is not None and not gradients:
        raise ValueError("gradients: got no stream, at least one is needed")
    params = starting_point() if params is None else params
    chosen = default_streams(params, STEPS * max(micro_batches)) if gradients is None else gradients
    records: dict[str, Equivalence] = {}
    for name, stream in chosen.items():
        records[name] = equivalence(a, b, params, stream, steps, micro_batches=micro_batches)
        if records[name].verdict == "different":
            return Sameness("different", name, records)
    exact = all(record.verdict == "identical" for record in records.values())
    return Sameness("identical" if exact else "equivalent", None, records)


def assert_equivalent(
    a: Any,
    b: Any,
    params: Any = None,
    *,
    gradients: Mapping[str, Iterable[Any]] | None = None,
    steps: int | None = None,
    micro_batches: tuple[int, int] = (1, 1),
    allow_unseen: bool = False,
) -> Sameness:
    """Raise AssertionError unless two optimizers are one algorithm up to rounding; meant for tests of your own.

    The message has the step, the parameter, the cause and, where one is known, the keywords that make them equal.

    Args:
        a: see ``same``, as for the other arguments.
        b: see ``same``.
        params: see ``same``.
        gradients: see ``same``.
        steps: see ``same``.
        micro_batches: see ``same``.
        allow_unseen: accept keywords that differ but were not exercised by any stream. Without it, they fail, because
            the streams prove nothing about them. Those that only change the rounding never fail.

    Returns:
        The record, if the assertion holds.

    Raises:
        AssertionError: the optimizers differ, or they may differ by keywords that were not exercised.
        ValueError: see ``same``.

    Examples:
        >>> compare.assert_equivalent(optax.sgd(0.1), optax.chain(optax.scale(-0.1)), steps=2).verdict
        'identical'
    """
    found = same(a, b, params, gradients=gradients, steps=steps, micro_batches=micro_batches)
    open_ones = [name for name in found.unseen if not WORDS.get(name, "").startswith("rounding")]
    if found.verdict == "different" or (open_ones and not allow_unseen):
        more = "" if found.verdict == "different" else "; allow_unseen=True accepts that"
        raise AssertionError(f"the optimizers are not shown to be equivalent: {found}{more}")
    return found


def starting_point() -> dict[str, Any]:
    """Return the parameters that `same` starts from by default."""
    return {"kernel": jax.random.normal(jax.random.key(0), (8, 4)), "bias": jnp.zeros(8)}


def default_streams(params: Any, steps: int = STEPS) -> dict[str, streams.Stream]:
    """Return the streams that `same` tries by default, in order."""
    keys = jax.random.split(jax.random.key(1), 3)
    return {
        "mixed": streams.tiny(keys[0], params, steps, high=10.0),
        "sparse": streams.sparse(keys[1], params, steps),
        "random": streams.random(keys[2], params, steps),
    }
