"""Style transfer: an image with the content of one picture and the style of another. [Lecture row J]

    features = style_transfer.vgg19_features(*style_transfer.load_vgg19("vgg19.safetensors"))
    made = style_transfer.stylize(features, content, style, start=content, steps=200,
                                  optimizer=optimizers.adam(0.02), style_weight=1e4)

Features are activations of a network by the names of its layers. Those of VGG-19 trained on ImageNet tell content and
style apart, as the paper shows; those of an untrained network hold texture alone.

Reference for all: L. Gatys, A. Ecker, M. Bethge, Image Style Transfer Using Convolutional Neural Networks, 2016,
https://doi.org/10.1109/CVPR.2016.265, and A Neural Algorithm of Artistic Style, 2015, https://arxiv.org/abs/1508.06576.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl import interop, models, nn, numerics, optimizers

__all__ = [
    "CONTENT_LAYERS",
    "STYLE_LAYERS",
    "Stylized",
    "content_loss",
    "gram",
    "load_vgg19",
    "style_loss",
    "stylize",
    "total_variation",
    "vgg19_features",
]

CONTENT_LAYERS: Final = ("conv4_2",)  # of VGG-19, as in the paper
STYLE_LAYERS: Final = ("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")  # each weighs a fifth
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours, to which torchvision's nets are used

Features = Callable[[Array], Mapping[str, Array]]  # image (h, w, c) -> activations (h', w', c') by name


class Stylized(NamedTuple):
    """The image that `stylize` makes, and how it came about; losses are those before each step and at the end."""

    image: Float[Array, "h w c"]
    content: Float[Array, " steps_1"]  # sum over layers, unweighted
    style: Float[Array, " steps_1"]  # mean over layers, unweighted
    variation: Float[Array, " steps_1"]  # unweighted
    strip: Float[Array, "k h w c"]  # the image before each of the steps asked for


def gram(x: Float[ArrayLike, "*n h w c"]) -> Float[Array, "*n c c"]:
    """Gram matrix of feature maps, G_ij = Σ_p x_pi x_pj / M over the M = h·w places.

    The paper does not divide by M, but its loss of style does by M², so that `style_loss` is the same for one size and
    also compares images of different sizes.

    Raises:
        ValueError: for an array of rank below 3.

    Examples:
        Two channels that are never on together:

        >>> style_transfer.gram(jnp.array([[[1.0, 0.0], [0.0, 2.0]]]))  # 1 / 2, 4 / 2
        Array([[0.5, 0. ],
               [0. , 2. ]], dtype=float32)

    [Lecture row J]
    """
    z = _maps(x)
    places = z.reshape(*z.shape[:-3], -1, z.shape[-1])
    product = jnp.einsum("...pi,...pj->...ij", places, places, precision="highest")
    return (product / max(1, places.shape[-2])).astype(numerics.result_dtype(x))


def content_loss(x: Float[ArrayLike, "*n h w c"], target: Float[ArrayLike, "*n h w c"]) -> Float[Array, "*n"]:
    """Content loss of feature maps, ½ Σ (x − target)².

    Raises:
        ValueError: if the shapes differ or have a rank below 3.

    Examples:
        >>> style_transfer.content_loss(jnp.full((2, 2, 1), 3.0), jnp.ones((2, 2, 1)))  # 4 * 2² / 2
        Array(8., dtype=float32)

    [Lecture row J]
    """
    x, target = _maps(x), _maps(target)
    if x.shape != target.shape:
        raise ValueError(f"target: got shape {target.shape}, must be that of x, {x.shape}")
    return numerics.square(x - target).sum((-3, -2, -1)) / 2


def style_loss(x: Float[ArrayLike, "*n h w c"], target: Float[ArrayLike, "*n c c"]) -> Float[Array, "*n"]:
    """Style loss of feature maps, Σ_ij (G_ij − A_ij)² / (4 N²), with G the `gram` matrix of x and N = c channels.

    Args:
        x: feature maps.
        target: A, the Gram matrix of the style.

    Raises:
        ValueError: if the target has other channels than x, or x has a rank below 3.

    Examples:
        >>> x = jnp.array([[[1.0, 0.0], [0.0, 2.0]]])
        >>> own, none = style_transfer.gram(x), jnp.zeros((2, 2))
        >>> style_transfer.style_loss(x, own), style_transfer.style_loss(x, none)  # 0 and 4.25 / 16
        (Array(0., dtype=float32), Array(0.265625, dtype=float32))

    [Lecture row J]
    """
    found, target = gram(_maps(x)), numerics.widen(target)
    if target.shape != found.shape:
        raise ValueError(f"target: got shape {target.shape}, must be {found.shape}, a Gram matrix of the channels of x")
    return numerics.square(found - target).sum((-2, -1)) / (4 * found.shape[-1] ** 2)


def total_variation(x: Float[ArrayLike, "*n h w c"]) -> Float[Array, "*n"]:
    """Sum of the squared differences between neighbours, Σ (x_{i+1,j} − x_{i,j})² + (x_{i,j+1} − x_{i,j})².

    The paper has no such term; it keeps noise of high frequency down.

    Raises:
        ValueError: for an array of rank below 3.

    Reference: A. Mahendran, A. Vedaldi, Understanding Deep Image Representations by Inverting Them, 2015,
    https://arxiv.org/abs/1412.0035, with β = 2.

    Examples:
        >>> style_transfer.total_variation(jnp.array([[0.0, 1.0], [0.0, 3.0]])[..., None])  # 1² + 3² and 2²
        Array(14., dtype=float32)

    [Lecture row J]
    """
    z = _maps(x)
    down, across = (numerics.square(jnp.diff(z, axis=axis)).sum((-3, -2, -1)) for axis in (-3, -2))
    return down + across


def stylize(
    features: Features,
    content: Float[ArrayLike, "h w c"],
    style: Float[ArrayLike, "h2 w2 c"],
    *,
    start: Float[ArrayLike, "h w c"],
    optimizer: optax.GradientTransformation,
    steps: int,
    style_weight: ArrayLike = 1e3,
    variation_weight: ArrayLike = 0.0,
    layers: tuple[Sequence[str], Sequence[str]] = (CONTENT_LAYERS, STYLE_LAYERS),
    keep: Sequence[int] = (),
) -> Stylized:
    """Descend from an image to one with the content of a picture and the style of another.

    The loss is Σ content + β · mean style + γ · variation, of which the first two are over layers. Wrap the call in
    `jax.jit`, closed over what is static, to compile it as one program.

    Args:
        features: image → activations by name, at least those of the layers.
        content: the picture of the content, values as the network takes them, such as 0 to 1.
        style: the picture of the style, of any size that the network takes.
        start: where to begin: the content, noise, or any image.
        optimizer: Adam, or L-BFGS as in the paper; it gets the loss and a function of it.
        steps: number of steps, at least 1.
        style_weight: β, over the content's 1.
        variation_weight: γ.
        layers: names of the layers of content and of style.
        keep: steps before which the image is kept in ``strip``.

    Raises:
        ValueError: if ``steps`` is below 1, ``keep`` is not in [0, steps), a layer is missing from the features, or
            ``start`` and ``content`` have different shapes.

    Examples:
        With the image itself as its feature, descent from black reaches the content, when style does not count:

        >>> content, style = jnp.full((2, 2, 1), 0.5), jnp.ones((2, 2, 1))
        >>> found = style_transfer.stylize(
        ...     lambda image: {"pixels": image},
        ...     content,
        ...     style,
        ...     start=jnp.zeros((2, 2, 1)),
        ...     optimizer=optax.sgd(0.5),
        ...     steps=10,
        ...     style_weight=0.0,
        ...     layers=(("pixels",), ("pixels",)),
        ... )
        >>> found.image.ravel().round(2)
        Array([0.5, 0.5, 0.5, 0.5], dtype=float32)

    [Lecture row J]
    """
    content, style, start = numerics.widen(content), numerics.widen(style), numerics.widen(start)
    _check(steps, keep, content, start)
    ours, theirs = _seen(features, content, layers[0]), _seen(features, style, layers[1])
    targets = {name: gram(one) for name, one in theirs.items()}

    def losses(image):
        seen = _seen(features, image, [*layers[0], *layers[1]])
        of_content = sum(content_loss(seen[name], ours[name]) for name in layers[0])
        of_style = sum(style_loss(seen[name], targets[name]) for name in layers[1]) / max(1, len(layers[1]))
        return jnp.asarray(of_content), jnp.asarray(of_style), total_variation(image)

    def total(image):
        parts = losses(image)
        return parts[0] + style_weight * parts[1] + variation_weight * parts[2], parts

    def step(carry, _):
        image, state = carry
        (value, parts), slope = jax.value_and_grad(total, has_aux=True)(image)
        offered = {"value": value, "value_fn": lambda image: total(image)[0]}
        updates, state = optimizers.update(optimizer, slope, state, image, **offered)
        moved: Any = optimizers.apply_updates(image, updates)
        return (moved, state), (parts, image if keep else None)

    (image, _), (parts, images) = jax.lax.scan(step, (start, optimizer.init(start)), None, length=steps)
    content, style, variation = (jnp.append(before, last) for before, last in zip(parts, losses(image), strict=True))
    strip = images[jnp.asarray(keep)] if images is not None else jnp.zeros((0, *image.shape), image.dtype)
    return Stylized(image, content, style, variation, strip)


def load_vgg19(path: str | os.PathLike, *, width: float | int = 1.0) -> tuple[nn.Layer, Any]:
    """Return VGG-19 and its parameters from a file of torchvision's names, such as ``vgg19-dcbb9e9d.pth``.

    Args:
        path: the file; see `interop.read` for its formats.
        width: multiplier of every channel count, other than 1 for files of smaller networks.

    Raises:
        ValueError: as `interop.load`, for a file that cannot be read or is of another architecture.

    [Lecture row J]
    """
    layer = models.vgg19(width=width)
    params, _ = interop.load(path, layer, (224, 224, 3), interop.torchvision.vgg)
    return layer, params


def vgg19_features(layer: nn.Layer, params: Any, names: Sequence[str] = (*CONTENT_LAYERS, *STYLE_LAYERS)) -> Features:
    """Return a function from an image, RGB from 0 to 1, to activations of VGG-19 after the ReLU of each named layer.

    Pools take the mean instead of the maximum, which the paper recommends, and no layer behind the last named one runs,
    so that images may have any size.

    Args:
        layer: VGG-19, from `load_vgg19`.
        params: its parameters.
        names: of convolutions, such as "conv4_2".

    Raises:
        ValueError: for a layer that does not exist.

    Examples:
        >>> from jaxdl import models
        >>> net, image = models.vgg19(10, width=1 / 64), jnp.zeros((16, 16, 3))
        >>> def features(key):
        ...     params, _ = net.init(key, (32, 32, 3))
        ...     return style_transfer.vgg19_features(net, params, ("conv1_1", "conv2_1"))(image)
        >>> {name: map.shape for name, map in jax.eval_shape(features, jax.random.key(0)).items()}
        {'conv1_1': (16, 16, 1), 'conv2_1': (8, 8, 2)}

    [Lecture row J]
    """
    taps = {name: name.replace("conv", "relu") for name in names}
    for tap in taps.values():
        nn.at(layer, tap)
    known = list(layer.children)
    parts = {name: layer.children[name] for name in known[: 1 + max(map(known.index, taps.values()))]}
    pooled = {name: nn.AvgPool(2) if name.startswith("pool") else part for name, part in parts.items()}
    tapped = nn.tap(nn.serial(**pooled), list(taps.values()))
    own = {name: params[name] for name in parts if name in params}

    def features(image):
        shift, scale = (jnp.asarray(one, image.dtype).reshape(1, 1, 3) for one in (MEAN, STD))
        (_, seen), _ = tapped.apply(own, {}, ((image - shift) / scale)[None])
        return {name: seen[tap][0] for name, tap in taps.items()}

    return features


def _check(steps: int, keep: Sequence[int], content: Array, start: Array) -> None:
    if start.shape != content.shape:
        raise ValueError(f"start: got shape {start.shape}, must be that of content, {content.shape}")
    if steps < 1 or not all(0 <= k < steps for k in keep):
        raise ValueError(f"steps={steps}, keep={tuple(keep)}: allowed are at least 1 step, and kept ones below it")


def _seen(features: Features, image: Array, names: Sequence[str]) -> dict[str, Array]:
    found = features(image)
    if missing := sorted({*names} - {*found}):
        raise ValueError(f"layers: got {missing}, the features have {sorted(found)}")
    return {name: found[name] for name in names}


def _maps(x: ArrayLike) -> Array:
    numerics.refuse_complex(x=x)
    if jnp.ndim(x) < 3 or not math.prod(jnp.shape(x)[-1:]):
        raise ValueError(f"x: got shape {jnp.shape(x)}, needed are maps (..., height, width, channels)")
    return numerics.widen(x)
