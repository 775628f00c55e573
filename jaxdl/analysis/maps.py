"""Feature maps: the activation of every layer for an image. [Lecture row H4]"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl import nn


def feature_maps(
    layer: nn.Layer,
    params: Any,
    state: Any,
    image: Float[ArrayLike, "..."],
    paths: Sequence[str] | None = None,
) -> dict[str, Array]:
    """Return the activations of a network's layers for one image, in order of application, as in evaluation.

    Args:
        layer: the network.
        params, state: of the network.
        image: one image `(h, w, c)`, without a batch dimension.
        paths: paths of the parts, as in `nn.at`; None takes all parts that have no parts of their own.

    Returns:
        Activations by path, without a batch dimension: `(h, w, maps)` of a convolution or pool, `(units,)` of a dense
        layer.

    Raises:
        ValueError: for an unknown path, or an image that is not of rank 3.

    Reference: M. Zeiler, R. Fergus, Visualizing and Understanding Convolutional Networks, 2014,
    https://arxiv.org/abs/1311.2901.

    Examples:
        >>> from jaxdl import nn
        >>> net = nn.serial(conv1=nn.Conv(4, 3), relu1=jax.nn.relu, pool=nn.global_avg_pool)
        >>> params, state = net.init(jax.random.key(0), (8, 8, 1))
        >>> maps = analysis.feature_maps(net, params, state, jnp.zeros((8, 8, 1)))
        >>> {path: map.shape for path, map in maps.items()}
        {'conv1': (8, 8, 4), 'relu1': (8, 8, 4), 'pool': (4,)}

    [Lecture row H4]
    """
    image = jnp.asarray(image)
    if image.ndim != 3:
        raise ValueError(f"image has shape {image.shape}; expected one image (h, w, c), without a batch dimension")
    if paths is None:
        paths = [path for path in nn.paths(layer) if not nn.at(layer, path).children]
    (_, seen), _ = nn.tap(layer, paths).apply(params, state, image[None])
    return {path: jax.tree.map(lambda one: one[0], seen[path]) for path in paths}
