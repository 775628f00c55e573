# %% [markdown]
# # Fooling and painting
#
# Training changes the parameters and keeps the image. Here we keep the parameters and change the image, by the same
# gradients: to fool a network, and to paint. At the end a network paints by itself.

# %%
import itertools
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_sample_images

from jaxdl import activations, data, layers, losses, models, nn, optimizers, plots, schedules, training
from jaxdl.applications import adversarial, colorization, style_transfer

name = "mnist" if "JAXDL_DATA_DIR" in os.environ else "digits"
steps = int(os.environ.get("STEPS", 150))
splits = data.split(data.load(name), seed=0, dev_fraction=0.1)
full = 255.0 if name == "mnist" else 16.0
train = data.Examples(splits.train.images[:10_000], splits.train.labels[:10_000])
images, labels = splits.test.images[:500].astype(np.float32) / full, splits.test.labels[:500]

# %% [markdown]
# ## Fooling
#
# A network that reads most digits:

# %%
net, optimizer = models.mlp(10, widths=(128,)), optimizers.adam(2e-3)
scale = lambda x: x.astype(jnp.float32) / full
step = jax.jit(training.train_step(net, optimizer, preprocess=scale))
state = training.create(jax.random.key(0), net, optimizer, images.shape[1:])
epoch = lambda number: data.batches(train, 64, seed=0, epoch=number)
state = training.fit(step, state, epoch, key=jax.random.key(1), epochs=range(6 if name == "mnist" else 30))
params, layer_state = training.eval_variables(state)
logits = jax.jit(lambda x: net.apply(params, layer_state, x)[0])
accuracy = lambda x: float((logits(x).argmax(-1) == labels).mean())
print(f"{name}: accuracy {accuracy(images):.3f}")

# %% [markdown]
# The fast gradient sign method moves every pixel by ε in the direction in which the loss grows. Projected gradient does
# so in small steps. The control moves every pixel by ε as well, with random signs.

# %%
loss = lambda x: losses.softmax_cross_entropy(net.apply(params, layer_state, x)[0], jnp.asarray(labels))
eps, key = 0.1, jax.random.key(2)
fast = jax.jit(lambda x: adversarial.fgsm(loss, x, eps))(images)
projected = jax.jit(lambda x: adversarial.pgd(key, loss, x, eps, step_size=eps / 4, steps=10))(images)
signs = np.where(jax.random.bernoulli(key, 0.5, images.shape), 1, -1)
control = np.clip(images + eps * signs, 0, 1)
found = {"no change": images, "random signs": control, "fast gradient": fast, "projected gradient": projected}
for what, changed in found.items():
    print(f"{what:<19} accuracy {accuracy(changed):.3f}, largest change {np.abs(changed - images).max():.2f}")
assert accuracy(projected) <= accuracy(fast) < accuracy(control) - 0.2
assert np.abs(projected - images).max() < eps + 1e-6

# %%
said = {what: np.asarray(activations.softmax(logits(changed))) for what, changed in found.items()}
fooled = (logits(images).argmax(-1) == labels) & (logits(fast).argmax(-1) != labels)
chosen = np.flatnonzero(fooled)[:4]
shown = [np.asarray(found[what])[i] for what in ("no change", "random signs", "fast gradient") for i in chosen]
captions = [
    f"{said[what][i].argmax()} with {said[what][i].max():.0%}"
    for what in ("no change", "random signs", "fast gradient")
    for i in chosen
]
plots.image_grid(
    np.stack(shown),
    captions,
    columns=4,
    title="The images; random signs; signs of the gradient",
    note="above each image: the class that the network reads, and its probability",
)

# %% [markdown]
# ## Painting: the style of another picture
#
# The picture of a temple, and that of a flower: both come with scikit-learn. The content of an image is what the maps
# of a deep layer hold, its style is which maps are active together, whatever the place: their Gram matrix. We descend
# on the pixels until both fit. The network here is one of random filters, which know texture and colours, not strokes;
# with VGG-19's weights it is the paper's (`python -m experiments.style_transfer --weights ...`).

# %%
temple, flower = (image.astype(np.float32) / 255 for image in load_sample_images().images)
content, style = temple[100:164, 250:314], flower[150:214, 250:314]
random = np.random.default_rng(0)
widths = (3, 16, 32, 32)
kernels = [
    jnp.asarray(random.normal(size=(3, 3, a, b)) * np.sqrt(2 / (9 * a)), jnp.float32)
    for a, b in itertools.pairwise(widths)
]


def features(image):
    x, found = 2 * image[None] - 1, {}
    for number, kernel in enumerate(kernels):
        x = activations.relu(layers.conv2d(x if number == 0 else layers.avg_pool2d(x), kernel))
        found[f"scale {number}"] = x[0]
    return found


@jax.jit
def paint(content, style, style_weight):
    return style_transfer.stylize(
        features,
        content,
        style,
        start=content,
        optimizer=optimizers.adam(0.02),
        steps=steps,
        style_weight=style_weight,
        layers=(("scale 2",), ("scale 0", "scale 1", "scale 2")),
    )


some, more = paint(content, style, 1e3), paint(content, style, 1e5)
for what, made in (("style 1,000", some), ("style 100,000", more)):
    print(f"{what}: style {made.style[0]:.3g} → {made.style[-1]:.3g}, content 0 → {made.content[-1]:.3g}")
assert more.style[-1] < some.style[-1] < some.style[0]
assert more.content[-1] > some.content[-1]

# %%
plots.image_grid(
    np.stack([content, style, some.image, more.image]),
    ["content", "style", "style 1,000", "style 100,000"],
    columns=4,
    title="A temple with the texture of a flower",
)

# %% [markdown]
# ## Painting: colours from a grey picture
#
# A network sees the lightness of the left half of the flower's picture, and learns the two numbers of its colours, a*
# and b*, from it. Then it colours the right half, which it has not seen.

# %%
lab = np.asarray(colorization.rgb_to_lab(flower))[::2, ::2]
lightness, ab = lab[..., :1] / 50 - 1, lab[..., 1:] / 50
half = lab.shape[1] // 2
painter = nn.serial(
    conv1=nn.Conv(16, 5),
    relu1=activations.relu,
    conv2=nn.Conv(16, 5, dilation=3),
    relu2=activations.relu,
    conv3=nn.Conv(16, 5, dilation=6),
    relu3=activations.relu,
    colors=nn.Conv(2, 1),
)
weights, _ = painter.init(jax.random.key(0), (64, 64, 1))
adam = optimizers.adam(schedules.cosine(1e-2, steps))


@jax.jit
def learn(weights, optimizer_state, x, y):
    mean_loss = lambda weights: losses.squared_error(painter.apply(weights, {}, x)[0], y).mean()
    updates, optimizer_state = adam.update(jax.grad(mean_loss)(weights), optimizer_state, weights)
    return optax.apply_updates(weights, updates), optimizer_state


def cut(whole, corners):
    return np.stack([whole[top : top + 64, left : left + 64] for top, left in corners])


optimizer_state = adam.init(weights)
for _ in range(steps):
    corners = random.integers(0, (lab.shape[0] - 64, half - 64), (4, 2))
    weights, optimizer_state = learn(weights, optimizer_state, cut(lightness, corners), cut(ab, corners))

# %%
painted = np.asarray(painter.apply(weights, {}, lightness[None, :, half:])[0][0])
truth, mean = ab[:, half:], ab[:, :half].mean((0, 1))
error = lambda found: 50 * float(np.sqrt(np.mean((found - truth) ** 2)))
print(f"error of a* and b*: {error(painted):.1f}; {error(np.zeros_like(truth)):.1f} of grey", end="")
print(f", {error(np.broadcast_to(mean, truth.shape)):.1f} of the left half's mean colour")
assert error(painted) < 0.8 * error(np.broadcast_to(mean, truth.shape))
to_rgb = lambda found: np.asarray(
    colorization.lab_to_rgb(np.concatenate([50 * lightness[:, half:] + 50, 50 * found], -1))
)
plots.image_grid(
    np.stack([to_rgb(np.zeros_like(truth)), to_rgb(painted), to_rgb(truth)]),
    ["grey", "painted", "as it was"],
    columns=3,
    title="Coloured by a network that saw the left half",
)
