"""CapsNet: two layers of capsules with routing between them, and a decoder. [Lecture row I]"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from jaxdl import activations, initializers, layers, losses, nn
from jaxdl.models.options import scaled
from jaxdl.nn.layer import checked, own_arrays


class Capsules(NamedTuple):
    """CapsNet's output in training, for `capsule_loss`; its output in evaluation is the lengths alone."""

    lengths: Float[Array, "n classes"]  # capsule lengths, the scores of the classes
    vectors: Float[Array, "n classes d"]  # the capsules themselves
    images: Float[Array, "n h w c"]  # the network's input, which the decoder reconstructs
    decode: jax.tree_util.Partial  # (n, classes d) -> (n, h w c), with the decoder's parameters


def capsnet(
    num_classes: int = 10,
    *,
    image_shape: Sequence[int] = (28, 28, 1),
    iterations: int = 3,
    width: float = 1.0,
) -> nn.Layer:
    """CapsNet: a 9x9 convolution, 32 maps of 8-d primary capsules, a 16-d capsule per class, and a decoder.

    It has 8,215,568 parameters on 28x28x1, of which 1,411,344 are the decoder's. The decoder reconstructs the image
    from one capsule, with the others masked: the longest in evaluation, the labelled one in `capsule_loss`. The
    reconstruction is not part of the output; ``nn.tap(net, ["decoder"])`` returns it, and jit drops it when unused.

    Args:
        num_classes: number of output capsules, whose lengths are the output.
        image_shape: ``(height, width, channels)`` of the images, which sizes the decoder.
        iterations: number of routing iterations.
        width: multiplier of channel and hidden unit counts; capsules keep 8 and 16 entries.

    The paper reaches .25 % error on MNIST with three iterations, reconstruction and shifts by up to 2 pixels.

    Reference: S. Sabour, N. Frosst, G. Hinton, Dynamic Routing Between Capsules, 2017,
    https://arxiv.org/abs/1710.09829.

    Examples:
        >>> models.capsnet(width=1 / 32).out_shape((28, 28, 1))
        (10,)
    """
    init = initializers.glorot_uniform()
    encoder = nn.serial(
        conv1=nn.Conv(scaled(256, width), 9, padding="VALID", kernel_init=init),
        relu1=activations.relu,
        conv2=nn.Conv(scaled(256, width, multiple=8), 9, stride=2, padding="VALID", kernel_init=init),
        primary=nn.function(_primary_capsules, kind="primary_capsules"),
        digit=_routed_capsules(num_classes, 16, iterations),
    )
    decoder = nn.serial(
        fc1=nn.Dense(scaled(512, width), kernel_init=init),
        relu1=activations.relu,
        fc2=nn.Dense(scaled(1024, width), kernel_init=init),
        relu2=activations.relu,
        fc3=nn.Dense(math.prod(image_shape), kernel_init=init),
        sigmoid=activations.sigmoid,
    )
    return _with_decoder(nn.sized("CapsNet", encoder), decoder, num_classes, tuple(image_shape))


def capsule_loss(
    outputs: Capsules | Float[Array, "n classes"],
    labels: ArrayLike,
    *,
    reconstruction: float = 5e-4,
    where: ArrayLike | None = None,
) -> Float[Array, " n"]:
    """Margin loss of the lengths; in training plus ``reconstruction · Σ (image - decoded)²`` over the pixels.

    Args:
        outputs: the `Capsules` that CapsNet returns in training, or the lengths that it returns in evaluation.
        labels: class numbers ``(n,)``; the decoder sees the labelled capsule alone.
        reconstruction: weight of the squared error, for images in [0, 1].
        where: mask of the examples that count, as in `losses.margin`.

    Returns:
        The loss of each example, ``(n,)``, for `training.train_step`.
    """
    if not isinstance(outputs, Capsules):
        return losses.margin(outputs, labels, where=where)
    decoded = outputs.decode(_masked(outputs.vectors, labels))
    error = jnp.sum((jnp.reshape(outputs.images, decoded.shape) - decoded) ** 2, axis=-1)
    error = error if where is None else jnp.where(where, error, 0)
    return losses.margin(outputs.lengths, labels, where=where) + reconstruction * error


def _with_decoder(encoder: nn.Layer, decoder: nn.Layer, num_classes: int, image_shape: tuple[int, ...]) -> nn.Layer:
    parts = nn.serial(encoder=encoder, masked=_flat_capsules, decoder=decoder)  # initialises the parameters of both

    def check(in_shape):
        encoder.out_shape(in_shape)
        if tuple(in_shape) != image_shape:
            raise ValueError(f"in_shape: got {tuple(in_shape)}, this CapsNet was made for image_shape={image_shape}")

    def init(key, in_shape):
        check(in_shape)
        return parts.init(key, in_shape)

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        def through(name, part, x):
            own_key = None if key is None else nn.child_key(key, name)
            options = {"train": train, "key": own_key, "axis_name": axis_name}
            y, own_state = part.apply(params.get(name, {}), state.get(name, {}), x, **options)
            return y, {name: own_state} if jax.tree.leaves(own_state) else {}

        vectors, encoded = through("encoder", encoder, x)
        lengths = layers.capsule_length(vectors)
        _, decoded = through("decoder", decoder, _masked(vectors, jnp.argmax(lengths, axis=-1)))
        new_state = encoded | decoded
        if not train:
            return lengths, new_state
        decode = jax.tree_util.Partial(lambda own, z: decoder.apply(own, {}, z)[0], params["decoder"])
        return Capsules(lengths, vectors, jnp.asarray(x), decode), new_state

    def out_shape(in_shape):
        check(in_shape)
        return (num_classes,)

    def rebuild(new):
        return _with_decoder(new["encoder"], new["decoder"], num_classes, image_shape)

    children = {"encoder": encoder, "decoder": decoder}
    return checked(nn.Layer(init, apply, out_shape, children, nn.Op("capsnet", rebuild=rebuild)))


def _flat_capsules(vectors: Array) -> Array:
    return vectors.reshape(vectors.shape[0], math.prod(vectors.shape[1:]))


def _masked(vectors: Array, labels: ArrayLike) -> Array:
    """Zero every capsule of an example except the labelled one, and flatten them."""
    kept = jax.nn.one_hot(labels, vectors.shape[1], dtype=vectors.dtype)
    return _flat_capsules(vectors * kept[:, :, None])


def _primary_capsules(x: Array) -> Array:
    """Reshape groups of 8 channels into squashed capsules: (n, h, w, 8 m) -> (n, h w m, 8)."""
    n, height, width, channels = x.shape
    return layers.squash(x.reshape(n, height * width * channels // 8, 8))


def _routed_capsules(number: int, size: int, iterations: int) -> nn.Layer:
    """Return a routed capsule layer: each input capsule votes for each output capsule through its own matrix."""

    def init(key, in_shape):
        n_in, d_in = in_shape
        kernel = initializers.truncated_normal(0.1)(nn.child_key(key, "kernel"), (n_in, number, d_in, size))
        return {"kernel": kernel}, {}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del train, key, axis_name
        shapes = {"kernel": (x.shape[-2], number, x.shape[-1], size)}
        own = own_arrays("routed_capsules", {"params": params, "state": state}, "params", shapes)
        votes = jnp.einsum("nid,iodk->niok", x, own["kernel"])
        return layers.dynamic_routing(votes, iterations=iterations), state

    return checked(nn.Layer(init, apply, lambda in_shape: (number, size), {}, nn.Op("routed_capsules")))
