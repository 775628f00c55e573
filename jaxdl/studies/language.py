"""Problems on text: a small Transformer and an LSTM that predict the next character of licence texts.

The text is what comes with jaxdl's own dependencies: each paragraph once, of the licence files of jaxlib, numpy and
scipy. It differs between their versions, and a study records its SHA-256. Every tenth paragraph is for the test, and
another tenth judges tuning. A run is judged by its mean cross-entropy on the test, in nats per character. Targets are
what tuned Adam reaches two thirds of the way through a full run.
"""

from __future__ import annotations

import functools
import importlib.metadata
import re
from pathlib import Path
from typing import Any, Final

import jax.numpy as jnp
import numpy as np

from jaxdl import losses, models, nn
from jaxdl.studies.problems import Problem, Tuning, indices

SYMBOLS: Final = 128  # ASCII
PACKAGES: Final = ("jaxlib", "numpy", "scipy")
LENGTH: Final = 64  # characters that are predicted at once
STRIDE: Final = 16  # between the starts of two training windows
_LICENCES: Final = re.compile(r"(^|/)[^/]*(licen[cs]e|copying|notice)[^/]*(\.txt|\.md|\.rst)?$", re.IGNORECASE)


@functools.cache
def licences() -> dict[str, np.ndarray]:
    """Return the texts "train", "validation" and "test" as ASCII codes, uint8; other characters are "?".

    Raises:
        ValueError: if an installed package came without its licence.
    """
    paragraphs: dict[str, None] = {}
    for name in PACKAGES:
        there = importlib.metadata.distribution(name)
        files = [file for file in there.files or () if _LICENCES.search(str(file)) and file.suffix != ".py"]
        if not files:
            raise ValueError(f"{name} {there.version} came without a licence file, which is the text of this problem")
        for file in sorted(files):
            text = Path(file.locate()).read_text(encoding="utf-8", errors="replace")
            paragraphs |= dict.fromkeys(" ".join(one.split()) for one in re.split(r"\n\s*\n", text) if one.strip())
    each = list(paragraphs)
    parts = {"test": each[9::10], "validation": each[4::10]}
    held = {*parts["test"], *parts["validation"]}
    parts["train"] = [one for one in each if one not in held]
    return {part: _codes("\n\n".join(some)) for part, some in parts.items()}


def _codes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("ascii", errors="replace"), np.uint8)


def text_problem(
    name: str,
    layer: nn.Layer,
    texts: dict[str, np.ndarray],
    *,
    batch_size: int = 32,
    epochs: int = 2,
    target: float | int | None = None,
    source: str = "",
) -> Problem:
    """Build the problem of predicting each character from those before it.

    Args:
        name: the name used in results.
        layer: network from codes ``(steps,)`` to logits ``(steps, 128)``, of which each depends on no later code.
        texts: "train", "validation" and "test", as `licences` returns them.
        batch_size: windows of 64 characters per step.
        epochs: passes over windows that start every 16 characters.
        target: a test loss that a good run reaches.
        source: reference for the problem.

    Raises:
        ValueError: a text is shorter than a window.

    Examples:
        >>> from jaxdl import nn
        >>> layer, text = nn.serial(embed=nn.Embedding(128, 4), logits=nn.Dense(128)), np.tile(np.arange(4), 60)
        >>> texts = dict.fromkeys(("train", "validation", "test"), text.astype(np.uint8))
        >>> studies.text_problem("alphabet", layer, texts, batch_size=4).steps  # 2 epochs of 11 windows
        4
    """
    for part, text in texts.items():
        if len(text) <= LENGTH:
            raise ValueError(f"texts[{part!r}] has {len(text)} characters; needed are more than {LENGTH}")
    windows = (len(texts["train"]) - LENGTH - 1) // STRIDE + 1
    steps = windows // batch_size
    judged = {part: _judging(texts[part], texts["test"]) for part in ("test", "validation")}
    return Problem(
        name=name,
        init=lambda key: layer.init(key, (LENGTH,)),
        loss=functools.partial(_loss, layer),
        evaluate=functools.partial(_evaluate, layer),
        batches=indices(windows, batch_size),
        steps=epochs * steps,
        steps_per_epoch=steps,
        batch_size=batch_size,
        evaluate_every=max(steps // 5, 1),
        data={"text": texts["train"], "judged": judged["test"]},
        target=target,
        source=source,
        tuning=lambda: Tuning(indices(windows, batch_size), {"text": texts["train"], "judged": judged["validation"]}),
    )


def _judging(text: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return windows that follow one another, as many as the test text has, so that one program takes both."""
    count = (len(test) - 1) // LENGTH
    starts = np.resize(np.arange((len(text) - 1) // LENGTH) * LENGTH, count)
    return text[starts[:, None] + np.arange(LENGTH + 1)]


def _scores(layer: nn.Layer, params: Any, state: Any, windows: Any, **options: Any):
    logits, state = layer.apply(params, state, windows[:, :-1].astype(jnp.int32), **options)
    labels = windows[:, 1:].astype(jnp.int32)
    return losses.softmax_cross_entropy(logits, labels), jnp.argmax(logits, -1) == labels, state


def _loss(layer: nn.Layer, params, state, batch, data, key):
    windows = data["text"][(batch * STRIDE)[:, None] + np.arange(LENGTH + 1)[None]]
    loss, _, state = _scores(layer, params, state, windows, train=True, key=key)
    return loss.mean(), state


def _evaluate(layer: nn.Layer, params, state, data):
    loss, right, _ = _scores(layer, params, state, data["judged"])
    return {"value": loss.mean(), "accuracy": right.mean(dtype=jnp.float32)}


def char_transformer() -> Problem:
    """A Transformer with two blocks of 64 features on licence texts, pre-norm as GPT-2, batches of 32 windows."""
    layer = models.char_transformer(SYMBOLS, length=LENGTH, depth=2, features=64, heads=4)
    return text_problem(
        "char_transformer", layer, licences(), target=1.95, source="https://github.com/karpathy/nanoGPT"
    )


def char_lstm() -> Problem:
    """An LSTM of 128 units on licence texts, as DeepOBS's character RNN in small, batches of 32 windows."""
    layer = nn.serial(embed=nn.Embedding(SYMBOLS, 32), lstm=nn.LSTM(128), logits=nn.Dense(SYMBOLS))
    return text_problem("char_lstm", layer, licences(), target=1.5, source="DeepOBS, https://arxiv.org/abs/1903.05499")
