"""The nets of both kinds and depths, their training, and the probes of their blocks."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import analysis, layers, losses, models, nn, optimizers, schedules
from jaxdl.data import augmentation

PLAIN, RESIDUAL = NETS = ("plain", "residual")
CHUNK, GRID, PENALTIES = 250, 2, (1e-3, 1e-2, 0.1, 1.0, 10.0)  # images at a time; side of the means; of the probes


class NetSize(NamedTuple):
    """What a net and its training are made of, besides its kind and depth."""

    width: float
    steps: int
    batch: int
    classes: int


class DepthProgram(NamedTuple):
    """The compiled functions of a net."""

    init: Callable[..., Any]  # (key, shape) -> carry: parameters, state, memory of the optimizer
    part: Callable[..., Any]  # (carry, rate, images, labels, rows (steps, batch), keys (steps,)) -> carry
    classify: Callable[..., jax.Array]  # (params, state, images) -> classes
    features: Callable[..., dict[str, jax.Array]]  # (params, state, images) -> (n, d) by path, in alphabetical order
    paths: list[str]  # the image, the first convolution and the blocks, in the order of application


def named(net: str, depth: int) -> str:
    """Return the name of a case."""
    return f"{net}, {depth} layers"


def network(case: str, size: NetSize) -> nn.Layer:
    """Return the network of a case."""
    depth = next(int(word) for word in case.split() if word.isdigit())
    shortcut = "A" if case.startswith(RESIDUAL) else None
    return models.resnet20(size.classes, depth=depth, shortcut=shortcut, width=size.width)


def blocks(layer: nn.Layer) -> list[str]:
    """Return the paths of the first convolution's output and of every block."""
    return ["relu1", *(path for path in nn.paths(layer) if path.rpartition("/")[2].startswith("block"))]


def optimizer(rate: Any, steps: int) -> Any:
    """Return the paper's optimizer, with its drops of the rate."""
    drops = {steps // 2: 0.1, 3 * steps // 4: 0.1}
    return optax.chain(optimizers.add_decayed_weights(1e-4), optimizers.momentum(schedules.step(rate, drops)))


@functools.cache
def program(case: str, size: NetSize, seen: Callable[[Any], jax.Array]) -> DepthProgram:
    """Return the functions of a net whose inputs are ``seen(images)``."""
    layer = network(case, size)
    tapped = nn.tap(layer, blocks(layer))
    augmented = augmentation.per_example(augmentation.compose(augmentation.crop, augmentation.flip))

    def init(key, shape):
        params, state = layer.init(key, shape)
        return params, state, optimizer(0.1, size.steps).init(params)

    def part(carry, rate, images, labels, rows, keys):
        def step(carry, one):
            (params, state, memory), (rows, key) = carry, one
            x = augmented(key, seen(images[rows]), jnp.arange(size.batch))

            def loss(params):
                logits, moved = layer.apply(params, state, x, train=True)
                return losses.softmax_cross_entropy(logits, labels[rows]).mean(), moved

            grads, state = jax.grad(loss, has_aux=True)(params)
            updates, memory = optimizer(rate, size.steps).update(grads, memory, params)
            return (optimizers.apply_updates(params, updates), state, memory), None

        return jax.lax.scan(step, carry, (rows, keys))[0]

    def features(params, state, images):
        (_, taken), _ = tapped.apply(params, state, seen(images), train=True)  # by the statistics of these images
        taken = {"image": seen(images), **taken}
        means = {path: layers.avg_pool2d(z, window=z.shape[1] // GRID) for path, z in taken.items()}
        return {path: z.reshape(len(images), -1) for path, z in means.items()}

    classify = lambda params, state, x: jnp.argmax(layer.apply(params, state, seen(x))[0], -1)
    quick = {"xla_backend_optimization_level": 0}  # initial values take long to compile at other levels
    init = jax.jit(init, static_argnums=1, compiler_options=quick)
    return DepthProgram(init, jax.jit(part), jax.jit(classify), jax.jit(features), ["image", *blocks(layer)])


def chunked(function: Callable[[Any], Any], images: Any) -> Any:
    """Return a function's results for images, some at a time; the last chunk is filled up with the first images."""
    rows = np.arange(len(images) + -len(images) % CHUNK) % len(images)
    found = [function(images[part]) for part in rows.reshape(-1, CHUNK)]
    return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(images)], *found)


def probes(program: DepthProgram, carry: Any, parts: Sequence[tuple[Any, Any]], classes: int) -> dict[str, float]:
    """Return the errors of linear probes on test images by path, in percent, in the order of application.

    Args:
        program: of the net.
        carry: its parameters and state.
        parts: images and labels from which probes learn, which choose their penalty, and which judge.
        classes: number of classes.
    """
    seen = [chunked(functools.partial(program.features, *carry[:2]), x) for x, _ in parts]
    labels = [y for _, y in parts]
    return {path: float(_probe(*(part[path] for part in seen), *labels, classes=classes)) for path in program.paths}


@functools.partial(jax.jit, static_argnames="classes")
def _probe(train: Any, dev: Any, test: Any, y: Any, y_dev: Any, y_test: Any, classes: int) -> jax.Array:
    others, known = jnp.concatenate([dev, test]), jnp.concatenate([y_dev, y_test])
    fit = lambda penalty: analysis.linear_probe(train, y, others, classes=classes, penalty=penalty)
    wrong = 100.0 * (jnp.argmax(jax.vmap(fit)(jnp.array(PENALTIES)), -1) != known[None])
    return wrong[jnp.argmin(wrong[:, : len(dev)].mean(1)), len(dev) :].mean()
