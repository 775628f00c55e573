"""Style transfer: its losses by hand, their gradients as in the paper, and VGG-19's features from a file."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from jaxdl import interop, models, nn, optimizers, schedules
from jaxdl.applications import style_transfer
from tests.zoo import quick_jit

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(2, 2, 3, 4, 5)).astype(np.float32)
PLAIN = (["maps"], ["maps"])


def maps(image):
    """The image itself as the only feature map."""
    return {"maps": image}


def test_losses_are_the_papers_sums():
    flat, style = X.reshape(2, 12, 5), Y.reshape(2, 12, 5)
    grams = [np.einsum("npi,npj->nij", one, one) for one in (flat, style)]  # unnormalised, as in the paper
    np.testing.assert_allclose(style_transfer.gram(X), grams[0] / 12, rtol=1e-5, atol=1e-6)
    expected = ((grams[0] - grams[1]) ** 2).sum((1, 2)) / (4 * 5**2 * 12**2)
    np.testing.assert_allclose(style_transfer.style_loss(X, style_transfer.gram(Y)), expected, rtol=1e-4)
    np.testing.assert_allclose(style_transfer.content_loss(X, Y), ((X - Y) ** 2).sum((1, 2, 3)) / 2, rtol=1e-5)
    down, right = X[:, 1:] - X[:, :-1], X[:, :, 1:] - X[:, :, :-1]
    expected = (down**2).sum((1, 2, 3)) + (right**2).sum((1, 2, 3))
    np.testing.assert_allclose(style_transfer.total_variation(X), expected, rtol=1e-5)
    larger = np.concatenate([Y, Y], 1)  # the same style on twice as many places
    np.testing.assert_allclose(style_transfer.gram(larger), style_transfer.gram(Y), rtol=1e-4, atol=1e-6)


def test_the_gradient_of_style_is_the_papers():
    """∂E/∂F = Fᵀ(G − A) / (N² M²) with unnormalised Gram matrices, equation 6."""
    slope = jax.grad(lambda x: style_transfer.style_loss(x, style_transfer.gram(Y)).sum())(jnp.asarray(X))
    flat, style = X.reshape(2, 12, 5), Y.reshape(2, 12, 5)
    difference = np.einsum("npi,npj->nij", flat, flat) - np.einsum("npi,npj->nij", style, style)
    np.testing.assert_allclose(slope.reshape(2, 12, 5), flat @ difference / (25 * 144), rtol=1e-3, atol=1e-5)


ADAM = optimizers.adam(schedules.cosine(0.2, 250))


@pytest.mark.parametrize("optimizer", [ADAM, optimizers.lbfgs()], ids=["adam", "lbfgs"])
def test_without_style_the_content_comes_back_and_without_content_the_style(optimizer):
    content, style, noise = X[0], Y[0], X[1]

    def make(weight):
        options = {"start": noise, "optimizer": optimizer, "steps": 250, "layers": PLAIN, "keep": (0, 79)}
        return style_transfer.stylize(maps, content, style, style_weight=weight, **options)

    found = quick_jit(jax.vmap(make))(jnp.array([0.0, 1e6]))
    np.testing.assert_allclose(found.image[0], content, atol=0.02)
    assert float(found.content[0, 0]) == pytest.approx(float(style_transfer.content_loss(noise, content)), rel=1e-5)
    assert float(found.content[0, -1]) < 1e-2
    assert float(found.style[1, -1]) < 0.02 * float(found.style[1, 0])
    assert float(found.content[1, -1]) > 1
    assert found.content.shape == found.style.shape == found.variation.shape == (2, 251)
    np.testing.assert_allclose(found.strip[:, 0], np.stack([noise, noise]))


def test_features_of_vgg19_come_from_a_file(tmp_path):
    """A tiny VGG-19 is written under torchvision's names, read back, and run layer by layer with average pools."""
    layer, file = models.vgg19(width=1 / 32), tmp_path / "vgg19.safetensors"
    shapes, _ = jax.eval_shape(lambda: layer.init(jax.random.key(0), (224, 224, 3)))
    params = jax.tree.map(lambda one: jnp.float32(RANDOM.normal(size=one.shape) / 3), shapes)
    named = interop.to_torch(layer, params, {}, (224, 224, 3), interop.torchvision.vgg)
    interop.write_safetensors(file, named)
    read, loaded = style_transfer.load_vgg19(file, width=1 / 32)
    image = RANDOM.uniform(size=(9, 12, 3)).astype(np.float32)
    features = style_transfer.vgg19_features(read, loaded, ["conv1_2", "conv2_1"])
    seen = quick_jit(features)(image)
    x = ((image - np.float32(style_transfer.MEAN)) / np.float32(style_transfer.STD))[None]
    for name in ("conv1_1", "conv1_2"):
        x = np.maximum(nn.at(layer, name).apply(params[name], {}, x)[0], 0)
    np.testing.assert_allclose(seen["conv1_2"], x[0], rtol=1e-4, atol=1e-4)
    x = x[:, :8].reshape(1, 4, 2, 6, 2, -1).mean((2, 4))
    x = np.maximum(nn.at(layer, "conv2_1").apply(params["conv2_1"], {}, x)[0], 0)
    np.testing.assert_allclose(seen["conv2_1"], x[0], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="vgg19"):
        style_transfer.load_vgg19(file, width=1 / 16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps=0, keep=.*: allowed are at least 1 step"),
        ({"keep": (3,)}, r"steps=3, keep=\(3,\)"),
        ({"start": X[0, :2]}, r"start: got shape \(2, 4, 5\), must be that of content, \(3, 4, 5\)"),
        ({"layers": (["maps"], ["conv1_1"])}, r"layers: got \['conv1_1'\], the features have \['maps'\]"),
    ],
)
def test_bad_arguments_are_named(change, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    options = {"start": X[0], "optimizer": optimizers.adam(0.1), "steps": 3, "layers": PLAIN} | change
    with pytest.raises(ValueError, match=message):
        style_transfer.stylize(maps, X[0], Y[0], **options)


def test_shapes_that_do_not_fit_are_named(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=r"target: got shape \(5, 4\), must be \(5, 5\)"):
        style_transfer.style_loss(X[0], np.ones((5, 4), np.float32))
    with pytest.raises(ValueError, match="relu9_1"):
        style_transfer.vgg19_features(models.vgg19(width=1 / 32), {}, ["conv9_1"])
