# %% [markdown]
# # What a CNN sees
#
# We train a small convolutional network and look into it: at its filters, at the maps that they make of an image, at
# the part of the image that a unit can see, and at the part that decides. The images are MNIST's if `JAXDL_DATA_DIR`
# names a folder that holds them, else scikit-learn's digits, so that nothing is downloaded.

# %%
import os

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import activations, analysis, data, layers, nn, optimizers, plots, training
from jaxdl.applications import transfer

name = "mnist" if "JAXDL_DATA_DIR" in os.environ else "digits"
splits = data.split(data.load(name), seed=0, dev_fraction=0.1)
count = min(int(os.environ.get("TRAINED_ON", 10_000)), len(splits.train.labels))
train = data.Examples(splits.train.images[:count], splits.train.labels[:count])
test = data.Examples(splits.test.images[:1000], splits.test.labels[:1000])
side = train.images.shape[1]
full = 255.0 if name == "mnist" else 16.0
print(f"{name}: {count:,} images of {side}×{side} pixels to train on")

# %% [markdown]
# Two convolutions, each followed by a ReLU and a pool, and one dense layer. For the tiny digits the windows are 3×3.

# %%
window = 5 if side == 28 else 3
net = nn.serial(
    conv1=nn.Conv(8, window),
    relu1=activations.relu,
    pool1=nn.MaxPool(2),
    conv2=nn.Conv(16, window),
    relu2=activations.relu,
    pool2=nn.MaxPool(2),
    flat=nn.flatten,
    logits=nn.Dense(10),
)
scale = lambda x: x.astype(jnp.float32) / full
optimizer = optimizers.adam(3e-3)
step = jax.jit(training.train_step(net, optimizer, preprocess=scale))
state = training.create(jax.random.key(0), net, optimizer, (side, side, 1))
epoch = lambda number: data.batches(train, 64, seed=0, epoch=number)
state = training.fit(step, state, epoch, key=jax.random.key(1), epochs=range(max(2, 16_000 // count)))
params, layer_state = training.eval_variables(state)
measure = jax.jit(training.eval_step(net, preprocess=scale))
found, outputs = training.evaluate(measure, (params, layer_state), data.eval_batches(test, 100))
print(f"test accuracy {found['accuracy']:.3f}")

# %% [markdown]
# ## Filters
#
# The kernels of the first convolution, violet where a bright pixel excites and brown where it inhibits. Many have a
# bright and a dark side: they answer to strokes and edges of one direction. They are small and few, and look less tidy
# than those of networks for photographs.

# %%
plots.filters(params["conv1"]["kernel"], title="Filters of the first convolution")

# %% [markdown]
# They are what the images made of them. Drawn at random, before training, neighbouring weights have nothing to do with
# each other; afterwards they are alike to some degree, as neighbouring
# pixels of the images are. Their correlation says so:


# %%
def smoothness(kernel):
    flat = np.asarray(kernel)[:, :, 0] - np.asarray(kernel)[:, :, 0].mean((0, 1))
    return float((flat[1:] * flat[:-1]).mean() + (flat[:, 1:] * flat[:, :-1]).mean()) / float(2 * (flat**2).mean())


before, _ = net.init(jax.random.key(0), (side, side, 1))
print(f"before {smoothness(before['conv1']['kernel']):+.2f}, after {smoothness(params['conv1']['kernel']):+.2f}")
assert smoothness(params["conv1"]["kernel"]) > smoothness(before["conv1"]["kernel"])

# %% [markdown]
# ## Feature maps
#
# Each filter makes one map of an image, bright where it fits. The ReLU has removed all places where it does not.

# %%
right = np.asarray(outputs).argmax(1) == test.labels
number = int(np.flatnonzero(right & (test.labels == 4))[0])
image, label = np.asarray(scale(test.images[number])), int(test.labels[number])
maps = analysis.feature_maps(net, params, layer_state, image, ["relu1", "relu2"])
first = np.moveaxis(np.asarray(maps["relu1"]), -1, 0)[..., None]
plots.image_grid(
    np.concatenate([image[None], first / first.max()]),
    [f"a {label}", *(f"filter {k}" for k in range(len(first)))],
    columns=5,
    title="One image, and what the filters of the first convolution find in it",
)

# %% [markdown]
# ## Receptive fields
#
# A unit of the second convolution sees more than its own window: r = 1 + Σ (k − 1) · the strides before it. The table
# of `analysis.summary` has it by arithmetic. The gradient of the unit with respect to the pixels finds the same by
# experiment: a pixel outside cannot change it. (A pool passes the gradient to its largest input alone, so we add up
# many images. The convolutions take images of any size, here noise of 40×40, so that no border cuts the field off.)

# %%
table = {row.layer: row for row in analysis.summary(net, (side, side, 1)).rows}
print({name: table[name].receptive_field for name in ("conv1", "pool1", "conv2", "pool2")})
trunk = transfer.trunk(net, "conv2")
unit = lambda x: trunk.apply(params, layer_state, x[None])[0][0, 10, 10].sum()
noise = jax.random.uniform(jax.random.key(2), (200, 40, 40, 1))
seen = np.asarray(jax.jit(jax.vmap(jax.grad(unit)))(noise) != 0).any((0, 3))
rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
extent = (int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1))
print(f"by the gradient {extent}")
assert extent == table["conv2"].receptive_field

# %% [markdown]
# ## What decides
#
# **Occlusion**: a grey square moves over the image, and we note how much the probability of the right class falls.
# **Saliency**: the gradient of that class's logit says how much a small change of each pixel counts. The first needs
# one run per place and shows what the network needs; the second needs one gradient, and is noisier.

# %%
probabilities = lambda x: activations.softmax(net.apply(params, layer_state, x)[0])
size = side // 4
places = np.arange(0, side - size + 1)


def covered(top, left):
    inside = lambda start: (jnp.arange(side) >= start) & (jnp.arange(side) < start + size)
    return jnp.where((inside(top)[:, None] & inside(left)[None])[..., None], 0.5, image)


tops, lefts = (jnp.asarray(one.ravel()) for one in np.meshgrid(places, places, indexing="ij"))
kept = jax.jit(lambda: probabilities(jax.vmap(covered)(tops, lefts))[:, label])()
fall = np.asarray(probabilities(image[None])[0, label] - kept).reshape(len(places), len(places))
saliency = np.abs(jax.grad(lambda x: net.apply(params, layer_state, x[None])[0][0, label])(jnp.asarray(image)))
around = np.pad(np.maximum(fall, 0), ((size // 2, side - len(places) - size // 2),) * 2)[..., None]
plots.image_grid(
    np.stack([image, around / around.max(), saliency / saliency.max()]),
    [f"a {label}", "occlusion", "saliency"],
    columns=3,
    title="Where the network looks",
)

# %% [markdown]
# MNIST's 4 shows why both are needed. What decides is the gap at its top: a square there closes it, and the 4 becomes
# a 9. The saliency has the largest values there, too, but is spread all over the image.
#
# A picture proves little. A test, on two hundred images that the network reads: take the saliency of each, blurred
# a little, and blacken the quarter of the stroke where it is largest; then as many pixels of the stroke at random. The
# network must lose more by the first.

# %%
tested = np.flatnonzero(right)[:200]
x, classes = np.asarray(scale(test.images[tested])), test.labels[tested]
logit = lambda x, k: net.apply(params, layer_state, x[None])[0][0, k]
gradients = np.abs(jax.jit(jax.vmap(jax.grad(logit)))(x, classes))
blurred = np.asarray(layers.filters.apply(gradients, layers.filters.gaussian(3, 1.0)))


def without(order):
    """Return the mean probability of the right class without the first quarter of each stroke in an order."""
    order = np.where(x > 0.3, order, -1).reshape(len(x), -1)
    removed = (x > 0.3).sum((1, 2, 3)) // 4
    rank = np.argsort(np.argsort(-order, axis=1), axis=1)
    changed = np.where(rank < removed[:, None], 0, x.reshape(len(x), -1)).reshape(x.shape)
    return float(np.asarray(probabilities(changed))[np.arange(len(x)), classes].mean())


by_saliency, at_random = without(blurred), without(np.random.default_rng(0).random(x.shape))
whole = float(np.asarray(probabilities(x))[np.arange(len(x)), classes].mean())
print(f"mean probability of the right class: {whole:.3f} of whole images, {at_random:.3f} without a quarter of the")
print(f"stroke at random, {by_saliency:.3f} without the quarter where the saliency is largest")
assert by_saliency < at_random < whole
