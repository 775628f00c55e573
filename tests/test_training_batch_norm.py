"""Re-estimated batch norm statistics against numpy's, layer by layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxdl import nn, training

IMAGES = load_digits().images[..., None].astype(np.float32) / 16
BATCHES = [jnp.asarray(IMAGES[i : i + 100]) for i in (0, 100, 500)]


@pytest.mark.slow
def test_statistics_are_the_mean_of_the_batches_own():
    net = nn.serial(
        norm=nn.BatchNorm(momentum=0.3),
        block=nn.residual(nn.serial(conv=nn.Conv(4, 3), norm=nn.BatchNorm(momentum=0.99)), nn.Conv(4, 1)),
        drop=nn.Dropout(0.5),
    )
    params, state = net.init(jax.random.key(0), (8, 8, 1))
    _, state = net.apply(params, state, BATCHES[2] * 7, train=True, key=jax.random.key(1))  # stale statistics
    found = training.reestimate_batch_norm(net, params, state, BATCHES, key=jax.random.key(2))

    batches = [np.asarray(b, np.float64) for b in BATCHES]
    np.testing.assert_allclose(found["norm"]["mean"], [np.mean([b.mean() for b in batches])], rtol=1e-5)
    np.testing.assert_allclose(found["norm"]["var"], [np.mean([b.var() for b in batches])], rtol=1e-5)

    tapped = nn.tap(net, ["block/body/conv"])
    inner = [
        np.asarray(tapped.apply(params, state, b, train=True, key=jax.random.key(2))[0][1]["block/body/conv"], float)
        for b in BATCHES
    ]
    deep = found["block"]["body"]["norm"]
    np.testing.assert_allclose(deep["mean"], np.mean([a.mean((0, 1, 2)) for a in inner], 0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(deep["var"], np.mean([a.var((0, 1, 2)) for a in inner], 0), rtol=1e-4)
    assert jax.tree.structure(found) == jax.tree.structure(state)


def test_a_layer_that_is_batch_norm_itself():
    norm = nn.BatchNorm()
    params, state = norm.init(jax.random.key(0), (8, 8, 1))
    found = training.reestimate_batch_norm(norm, params, state, BATCHES[:1])
    np.testing.assert_allclose(found["mean"], [np.asarray(BATCHES[0], float).mean()], rtol=1e-5)


def test_mistakes_are_named():
    norm = nn.BatchNorm()
    params, state = norm.init(jax.random.key(0), (8, 8, 1))
    with pytest.raises(ValueError, match="batches: got none"):
        training.reestimate_batch_norm(norm, params, state, [])
    with pytest.raises(ValueError, match="layer: got one without batch norm"):
        training.reestimate_batch_norm(nn.Dense(3), {}, {}, BATCHES)
