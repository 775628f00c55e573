"""Helpers of the `jaxdl.nn` tests: a net with every kind of leaf and combinator, and comparisons of trees."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import activations, data, nn

KEY = jax.random.key(3)
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(4, 9, 7, 3)).astype(np.float32)
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def net():
    """Build a net with every kind of leaf and combinator, its names out of alphabetical order."""
    return nn.serial(
        stem=nn.serial(z=nn.Conv(4, 3, stride=2), norm=nn.BatchNorm(), a=activations.relu),
        block=nn.residual(
            nn.serial(conv=nn.Conv(4, 3, groups=2), norm=nn.BatchNorm(), drop=nn.Dropout(0.4)), nn.Conv(4, 1)
        ),
        inception=nn.parallel("concat", z=nn.Conv(2, 3), pool=nn.AvgPool(3, stride=1, padding="SAME"), same=jnp.tanh),
        pool=nn.MaxPool(2),
        flat=nn.flatten,
        head=nn.Dense(5),
    )


def initial(layer, in_shape=(9, 7, 3)):
    return quick_jit(lambda: layer.init(KEY, in_shape))()


def assert_trees_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_trees_close(a, b, rtol=1e-6):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=rtol, atol=rtol), a, b)


def applied_shape(layer, in_shape, batch=3):
    def run(x):
        return layer.apply(*layer.init(KEY, in_shape), x)[0]

    return jax.eval_shape(run, jax.ShapeDtypeStruct((batch, *in_shape), jnp.float32)).shape


def assert_out_shape_is_applys(layer, in_shape):
    promised = layer.out_shape(in_shape)
    assert isinstance(promised, tuple)
    assert all(type(n) is int for n in promised)
    assert applied_shape(layer, in_shape) == (3, *promised)
    assert layer.out_shape(list(in_shape)) == promised


def squares():
    """Return 200 images of 28×28 pixels with a white square, whose place is the class: a data set for command lines."""
    labels = np.arange(200) % 4
    images = np.zeros((200, 28, 28), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[6 + 8 * (label // 2) :, 6 + 8 * (label % 2) :][:6, :6] = 255
    return data.from_arrays(images, labels, test_images=images[:40], test_labels=labels[:40])
