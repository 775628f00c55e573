"""Factors on the channels: learned ones, slopes below 0, and ones that depend on the image."""

import jax.numpy as jnp

from jaxdl import activations, initializers, layers, sizes
from jaxdl.nn import shapes
from jaxdl.nn.layer import Layer, Op, checked, child_key, declared, own_arrays


@declared
def LayerScale(start: float = 1e-4) -> Layer:
    """Multiply each channel by a factor of its own; params ``scale (c,)``. See `layers.layer_scale`.

    Args:
        start: of all factors: 1e-6 in ConvNeXt, and smaller for deeper networks in the paper.

    Examples:
        >>> nn.LayerScale().out_shape((5, 4))
        (5, 4)
    """

    def init(key, in_shape):
        del key
        return {"scale": jnp.full(shapes.channels("LayerScale", in_shape), start, jnp.float32)}, {}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del train, key, axis_name
        shape = (shapes.channels("LayerScale", jnp.shape(x)),)
        own = own_arrays("LayerScale", {"params": params, "state": state}, "params", {"scale": shape})
        return layers.layer_scale(x, own["scale"]), state

    return checked(Layer(init, apply, shapes.same_shape, {}, Op("layer_scale")))


@declared
def PReLU(start: float = 0.25) -> Layer:
    """Rectify with a slope for each channel below 0 that is learned; params ``slope (c,)``. See `activations.prelu`.

    Args:
        start: initial value of all slopes.

    Examples:
        >>> nn.PReLU().out_shape((5, 4))
        (5, 4)
    """

    def init(key, in_shape):
        del key
        return {"slope": jnp.full(shapes.channels("PReLU", in_shape), start, jnp.float32)}, {}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del train, key, axis_name
        shape = (shapes.channels("PReLU", jnp.shape(x)),)
        own = own_arrays("PReLU", {"params": params, "state": state}, "params", {"slope": shape})
        slope = own["slope"].astype(jnp.result_type(x))
        return activations.prelu(x, slope), state

    return checked(Layer(init, apply, shapes.same_shape, {}, Op("prelu")))


@declared
def SqueezeExcitation(
    features: int, *, activation=activations.relu, gate=activations.sigmoid, kernel_init=None
) -> Layer:
    """Weigh the channels of each image by what is in it. See `layers.squeeze_excitation`.

    Params ``reduce_kernel (c, features)``, ``expand_kernel (features, c)``, and their biases, which start at 0.

    Args:
        features: size of the hidden layer, in the paper a sixteenth of the channels.
        activation, gate: as in `layers.squeeze_excitation`.
        kernel_init: of both kernels, `initializers.lecun_normal` by default.

    Examples:
        >>> nn.SqueezeExcitation(2).out_shape((4, 4, 3))
        (4, 4, 3)
    """
    sizes.check_at_least_one("features", features)
    draw = kernel_init or initializers.lecun_normal()

    def arrays(channels):
        return {
            "reduce_kernel": (channels, features),
            "reduce_bias": (features,),
            "expand_kernel": (features, channels),
            "expand_bias": (channels,),
        }

    def init(key, in_shape):
        wanted = arrays(shapes.image_shape("SqueezeExcitation", in_shape)[-1])
        start = {name: draw(child_key(key, name), shape) for name, shape in wanted.items() if len(shape) == 2}
        return {name: jnp.array(start.get(name, jnp.zeros(shape))) for name, shape in wanted.items()}, {}

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        del train, key, axis_name
        wanted = arrays(shapes.channels("SqueezeExcitation", jnp.shape(x)))
        own = own_arrays("SqueezeExcitation", {"params": params, "state": state}, "params", wanted)
        return layers.squeeze_excitation(x, *own.values(), activation=activation, gate=gate), state

    out_shape = lambda in_shape: shapes.image_shape("SqueezeExcitation", in_shape)
    return checked(Layer(init, apply, out_shape, {}, Op("squeeze_excitation")))
