"""Losses of sequences, one number per sequence."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Integer

from jaxdl import numerics
from jaxdl.losses.checking import Where, mask_of, only
from jaxdl.words import own_words

_IMPOSSIBLE = -1e5  # optax's logarithm of 0


@own_words
def ctc(
    logits: Float[ArrayLike, "... time classes"],
    labels: Integer[ArrayLike, "... length"],
    *,
    logit_lengths: Integer[ArrayLike, "..."] | None = None,
    label_lengths: Integer[ArrayLike, "..."] | None = None,
    blank: int = 0,
    where: Where = None,
) -> Float[Array, "..."]:
    """Connectionist temporal classification: −ln of the probability of all alignments of the labels to the frames.

    p(l | z) = Σ over paths π that give l of Π_t softmax(z_t)[π_t]; a path gives l once repeated classes are merged
    and blanks are removed. Computed by `optax.ctc_loss`.

    Args:
        logits: z, one row of classes per frame.
        labels: class numbers l, padded at the end with anything; a number within its length that is the blank's or
            of no class gives NaN.
        logit_lengths: frames of each sequence, all of them by default.
        label_lengths: labels of each sequence, all of them by default; 0 is the probability of blanks alone. A
            length below 0 or above the axis gives NaN, as one of `logit_lengths` does.
        blank: the class number of the blank.
        where: the sequences that count; see `jaxdl.losses`.

    Raises:
        ValueError: leading axes or lengths of another shape, labels that are not integers, no class, or no such
            blank.

    Labels that need more frames than there are have the loss inf and gradient 0. Logits of −∞ exclude a class.

    Example:
        `ctc(jnp.zeros((2, 3)), jnp.array([1]))` is −ln(3/9): of nine paths, 11, 01 and 10 give the label 1.

    Reference: Graves et al., Connectionist temporal classification, 2006. https://doi.org/10.1145/1143844.1143891

    Examples:
        >>> losses.ctc(jnp.zeros((1, 2, 3)), jnp.array([[1]]))
        Array([1.0986123], dtype=float32)
    """
    z, labels, dtype = _checked(logits, labels, blank)
    batch = z.shape[:-2]
    frames = _lengths("logit_lengths", logit_lengths, batch, z.shape[-2])
    used = _lengths("label_lengths", label_lengths, batch, labels.shape[-1])
    mask = mask_of(where, batch)
    within = (frames >= 0) & (frames <= z.shape[-2]) & (used >= 0) & (used <= labels.shape[-1])
    frames, used = jnp.where(within, frames, z.shape[-2]), jnp.where(within, used, labels.shape[-1])
    frame_pads = jnp.arange(z.shape[-2], dtype=jnp.int32).reshape(_row(batch)) >= frames[..., None]
    label_pads = jnp.arange(labels.shape[-1], dtype=jnp.int32).reshape(_row(batch)) >= used[..., None]
    possible = within & ((labels >= 0) & (labels < z.shape[-1]) & (labels != blank) | label_pads).all(-1)
    repeated = ((labels[..., 1:] == labels[..., :-1]) & ~label_pads[..., 1:]).sum(-1).astype(jnp.int32)
    fits = used + repeated <= frames
    z = jnp.where(frame_pads[..., None], 0, only(mask, z))  # padding may hold NaN, which 0 · NaN would keep
    z = jnp.where(z == -jnp.inf, jax.lax.stop_gradient(z.max(-1, keepdims=True)) + _IMPOSSIBLE, z)
    z = z + only(mask, jnp.where(possible, 0, jnp.nan).astype(z.dtype))[..., None, None]  # NaN in the gradient, too
    loss = _optax_ctc(z, frame_pads, jnp.where(label_pads, blank, labels), label_pads, blank)
    return only(mask, jnp.where(fits | ~within, loss, jnp.inf).astype(dtype))


def _optax_ctc(z: Array, frame_pads: Array, labels: Array, label_pads: Array, blank: int) -> Array:
    """Call optax with one batch axis and lengths as paddings."""
    batch = z.shape[:-2]
    count = int(np.prod(batch, dtype=int))
    flat = [x.reshape(count, *x.shape[len(batch) :]) for x in (z, frame_pads, labels, label_pads)]
    z, frame_pads, labels, label_pads = flat
    with jax.default_matmul_precision("highest"):  # optax picks log-probabilities by a product with one-hot rows
        loss = optax.ctc_loss(
            z, frame_pads.astype(z.dtype), labels, label_pads.astype(z.dtype), blank_id=blank, log_epsilon=_IMPOSSIBLE
        )
    return loss.reshape(batch)


def _row(batch: tuple[int, ...]) -> tuple[int, ...]:
    return (1,) * len(batch) + (-1,)


def _checked(logits: ArrayLike, labels: ArrayLike, blank: int) -> tuple[Array, Array, jnp.dtype]:
    numerics.refuse_complex(logits=logits, labels=labels)
    z, labels = numerics.widen(logits), jnp.asarray(labels)
    if z.ndim < 2 or not z.shape[-1] or not z.shape[-2]:
        raise ValueError(f"logits: got shape {z.shape}, must be (..., time, classes) with at least one of each")
    if labels.shape[:-1] != z.shape[:-2] or not labels.ndim:
        raise ValueError(f"labels: got shape {labels.shape}, must be (..., length) with the leading axes of {z.shape}")
    if not isinstance(blank, int | np.integer) or not 0 <= blank < z.shape[-1]:
        raise ValueError(f"blank: got {blank}, allowed are ints from 0 to {z.shape[-1] - 1}")
    return z, numerics.class_numbers(labels), numerics.result_dtype(logits)


def _lengths(name: str, lengths: ArrayLike | None, batch: tuple[int, ...], longest: int) -> Array:
    if lengths is None:
        return jnp.full(batch, longest, jnp.int32)
    if jnp.shape(lengths) != batch or not jnp.issubdtype(jnp.result_type(lengths), jnp.integer):
        raise ValueError(
            f"{name}: got shape {jnp.shape(lengths)} and dtype {jnp.result_type(lengths)}, "
            f"must be integers, one per sequence, {batch}"
        )
    return jnp.asarray(lengths, jnp.int32)
