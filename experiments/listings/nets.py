"""The lectures' networks in training, as their listings train them."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from experiments.listings import peers
from jaxdl import activations, data, losses, models, optimizers

S_NET, P_NET = NETS = ("S's net", "P's net")
TORCH, KERAS = PEERS = ("S's net in PyTorch", "P's net in Keras")
BATCH, EVERY = 32, 100  # examples per step; steps between two printed losses
_MADE = {S_NET: (models.lecture_torch, optimizers.sgd(0.01, 0.5)), P_NET: (models.lecture_keras, optimizers.adam(1e-3))}


@functools.cache
def _step(case: str) -> Any:
    """Return the compiled step of a network: (params, state), images, labels -> (params, state), loss."""
    net, optimizer = _MADE[case][0](), _MADE[case][1]

    def step(carry, images, labels):
        params, state = carry
        mean = lambda p: losses.softmax_cross_entropy(net.apply(p, {}, images)[0], labels).mean()
        loss, grads = jax.value_and_grad(mean)(params)
        updates, state = optimizer.update(grads, state, params)
        return (optimizers.apply_updates(params, updates), state), loss

    return jax.jit(step, donate_argnums=0)


def trained(examples: int, loaded: Any, case: str, seed: int) -> Mapping[str, Any]:
    """Train a network for one epoch, P's for a twentieth, and return the losses that S prints, and the test's."""
    (images, labels), (x, y) = loaded
    batches = list(data.batch_rows(examples, BATCH, seed=seed, epoch=0))
    rows = [batch.row[batch.weight > 0] for batch in batches]
    if case == TORCH:
        seen = ((images[row], labels[row]) for row in rows)
        printed, loss, classes = peers.pytorch_train(seen, (x, y), seed, EVERY)
    else:
        net, optimizer = _MADE[case][0](), _MADE[case][1]
        params, _ = net.init(jax.random.key(seed), (28, 28, 1))
        carry, step, every = (params, optimizer.init(params)), _step(case), []
        for row in rows if case == S_NET else rows[: -(-len(rows) // 20)]:
            carry, found = step(carry, images[row], labels[row])
            every.append(found)
        apply = jax.jit(lambda params, x: net.apply(params, {}, x)[0])
        logits = np.concatenate([apply(carry[0], part) for part in np.array_split(x, max(1, len(x) // 1000))])
        loss, classes = float(losses.softmax_cross_entropy(logits, y).mean()), logits.argmax(-1)
        printed = np.array(every[::EVERY])
    found = {"accuracy": 100 * float(np.mean(classes == y)), "test loss": loss, "losses": printed}
    if case == P_NET:
        sizes = [(3 * 3 * 1 + 1) * 32, (3 * 3 * 32 + 1) * 64, (5 * 5 * 64 + 1) * 1024, (1024 + 1) * 10]
        found["parameters apart"] = float(sum(leaf.size for leaf in jax.tree.leaves(carry[0])) - sum(sizes))
    return found


def keras_beside(loaded: Any, seed: int) -> Mapping[str, float]:
    """Return how far the probabilities and the parameters of P's net are from those of Keras, on the same weights."""
    model, x = peers.keras_net(seed), loaded[1][0][:100]
    params, _ = models.lecture_keras().init(jax.random.key(seed), (28, 28, 1))
    weights = model.get_weights()
    given = dict(zip(("conv1", "conv2", "fc1", "fc2"), zip(weights[::2], weights[1::2], strict=True), strict=True))
    own = {name: {"kernel": kernel, "bias": bias} for name, (kernel, bias) in given.items()}
    ours = activations.softmax(models.lecture_keras().apply(own, {}, x)[0])
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    theirs = np.asarray(model(x))
    return {"apart": 100 * float(np.abs(ours - theirs).max()), "parameters apart": float(count - model.count_params())}
