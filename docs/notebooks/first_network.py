# %% [markdown]
# # A first network
#
# We train a small network on scikit-learn's digits, 1,797 images of 8×8 pixels, and look at what it gets wrong.
# Nothing is downloaded.

# %%
import jax
import jax.numpy as jnp

from jaxdl import activations, analysis, data, losses, nn, optimizers, training

splits = data.split(data.load("digits"), seed=0, dev_fraction=0.1)
print(splits.train.images.shape, splits.test.images.shape)

# %% [markdown]
# A network is a dict of named parts. `init` draws parameters; the shape is that of one image, without a batch axis.

# %%
net = nn.serial(flat=nn.flatten, hidden=nn.Dense(32), relu=activations.relu, logits=nn.Dense(10))
params, state = net.init(jax.random.key(0), (8, 8, 1))
print({name: {leaf: value.shape for leaf, value in part.items()} for name, part in params.items()})
print(analysis.summary(net, (8, 8, 1)))

# %% [markdown]
# Before training, the ten classes are about equally likely, so the loss is close to ln 10 = 2.303.

# %%
images, labels = splits.train.images[:200] / 16, splits.train.labels[:200]
print(losses.softmax_cross_entropy(net.apply(params, state, images)[0], labels).mean())

# %% [markdown]
# `train_step` makes one step, `data_parallel` compiles it, and `fit` is the loop. Images are divided by 16 on the
# device.

# %%
scale = lambda x: x.astype(jnp.float32) / 16
optimizer = optimizers.adam(1e-2)
run = training.data_parallel(training.train_step(net, optimizer, preprocess=scale), devices=1)
train_state = run.place(training.create(jax.random.key(0), net, optimizer, (8, 8, 1)))
epoch = lambda number: map(run.shard, data.batches(splits.train, 64, seed=0, epoch=number))
train_state = training.fit(run.step, train_state, epoch, key=jax.random.key(1), epochs=range(10))

# %%
measure = jax.jit(training.eval_step(net, preprocess=scale))
found, logits = training.evaluate(measure, training.eval_variables(train_state), data.eval_batches(splits.test, 64))
print(found)
assert found["accuracy"] > 0.93

# %% [markdown]
# The images that it gets wrong, with the class it sees:

# %%
wrong = logits.argmax(1) != splits.test.labels
print([(int(a), int(b)) for a, b in zip(splits.test.labels[wrong], logits.argmax(1)[wrong], strict=True)])
