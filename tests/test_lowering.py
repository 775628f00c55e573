"""Programs for a GPU and a TPU, lowered on a machine that has neither.

Lowering for "cuda" and "tpu" finds operations without a rule there, and the CPU's forms of convolution in programs that
must not have them. It compiles nothing. Functions come from the table of `tests/test_laws.py`, optimizers from
`jaxdl.optimizers.__all__`.
"""

import importlib.util
import inspect
import pathlib
import re
from functools import partial

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from jaxdl import data, layers, models, optimizers, training
from jaxdl.kernels.native import calls

PLATFORMS = ("cuda", "tpu")
_spec = importlib.util.spec_from_file_location("laws", pathlib.Path(__file__).with_name("test_laws.py"))
assert _spec is not None
assert _spec.loader is not None
laws = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(laws)


def lowered(f, *args):
    """Return the StableHLO of one trace for each platform; the CPU's own convolution must not be in it."""
    traced = jax.jit(f).trace(*args)
    texts = {platform: traced.lower(lowering_platforms=(platform,)).as_text() for platform in PLATFORMS}
    assert not any(calls.TARGET in text for text in texts.values())
    return texts


def count(text, operation):
    return len(re.findall(rf"stablehlo\.{operation}\b", text))


def test_an_operation_without_a_rule_there_is_found():
    nowhere = jax.extend.core.Primitive("nowhere")
    nowhere.def_abstract_eval(lambda x: x)
    with pytest.raises(NotImplementedError, match="nowhere"):
        lowered(nowhere.bind, jnp.ones(3))


@pytest.mark.parametrize("module", sorted({name.partition(".")[0] for name in laws.EXAMPLES}))
def test_every_function_and_its_gradient_lower(module):
    for name in laws.EXAMPLES:
        for example in laws.examples(name) if name.startswith(f"{module}.") else ():
            f, args = laws.bound(name, example), laws.arguments(name, example, jnp.float32)

            def both(*args, f=f):
                y, pullback = jax.vjp(f, *args)
                tangent = jax.tree.map(lambda a: a if laws.is_float(a) else np.zeros(a.shape, jax.dtypes.float0), y)
                return y, pullback(tangent)

            try:
                lowered(both, *args)
            except (NotImplementedError, ValueError) as error:
                raise AssertionError(f"{name} does not lower") from error


SPATIAL = {
    "plain": {},
    "strided": {"stride": 2, "padding": 1},
    "dilated": {"dilation": 2, "padding": "VALID"},
    "grouped": {"groups": 2},
    "depthwise": {"groups": 8},
}


@pytest.mark.parametrize("options", SPATIAL.values(), ids=SPATIAL)
def test_a_convolution_and_its_gradients_are_the_three_that_jax_s_own_autodiff_writes(options):
    """XLA maps these three to cuDNN: windows, dilations and groups agree, and no product is unfolded."""
    groups, padding = options.get("groups", 1), options.get("padding", "SAME")
    x, kernel = jnp.ones((4, 9, 9, 8)), jnp.ones((3, 3, 8 // groups, 16))

    def theirs(x, kernel):
        pad = [(padding, padding)] * 2 if isinstance(padding, int) else padding
        stride, dilation = (options.get(name, 1) for name in ("stride", "dilation"))
        return lax.conv_general_dilated(
            x, kernel, (stride,) * 2, pad, rhs_dilation=(dilation,) * 2, feature_group_count=groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip

    both = [
        lowered(jax.grad(lambda x, kernel, f=f: jnp.sin(f(x, kernel)).sum(), (0, 1)), x, kernel)
        for f in (partial(layers.conv2d, **options), theirs)
    ]
    for platform in PLATFORMS:
        ours, jax_s = (convolutions(texts[platform]) for texts in both)
        assert ours == jax_s
        assert len(ours) == 3
        assert not count(both[0][platform], "dot_general")


def convolutions(text):
    """Return window and groups of each convolution, and the shapes of its first argument and of its result."""
    pattern = r"stablehlo\.convolution\(.*?window = (\{.*?\}) \{(batch_group_count.*?), precision.*: \((\S+),.*-> (\S+)"
    return sorted(re.findall(pattern, text))


def test_kernels_per_member_are_one_convolution_not_one_per_member():
    f = jax.grad(lambda x, kernel: jnp.sin(layers.conv2d(x, kernel)).sum(), (0, 1))
    for text in lowered(jax.vmap(f, (None, 0)), jnp.ones((2, 9, 9, 8)), jnp.ones((5, 3, 3, 8, 4))).values():
        assert count(text, "convolution") <= 3
        assert not count(text, "dot_general")


@pytest.mark.parametrize("net", ["lenet5", "resnet20"])
def test_a_training_step_lowers_and_its_convolutions_are_xla_s(net):
    layer, in_shape = {"lenet5": (models.lenet5(), (28, 28, 1)), "resnet20": (models.resnet20(), (32, 32, 3))}[net]
    optimizer = optimizers.adam(1e-3)
    state = jax.eval_shape(lambda key: training.create(key, layer, optimizer, in_shape), jax.random.key(0))
    batch = data.Batch(*(jax.ShapeDtypeStruct(*one) for one in (
        ((8, *in_shape), np.float32), ((8,), np.int32), ((8,), np.float32), ((8,), np.int32)
    )))  # fmt: skip
    step = training.train_step(layer, optimizer, average_decay=None)
    key = jax.eval_shape(lambda: jax.random.key(0))
    convs = {"lenet5": 2, "resnet20": 19}[net]
    dense = {"lenet5": 3, "resnet20": 1}[net]
    for text in lowered(step, state, batch, key).values():
        assert count(text, "convolution") == 3 * convs - 1  # the images have no gradient
        assert count(text, "dot_general") == 3 * dense


# ---------------------------------------------------------------- optimizers

PARAMS = {"kernel": jnp.ones((4, 3)), "bias": jnp.ones(3)}
X, LABELS = jnp.linspace(-1, 1, 20).reshape(5, 4), jnp.array([0, 1, 2, 1, 0])


def model_fn(params):
    return X @ params["kernel"] + params["bias"][None]


def loss_fn(outputs):
    return optax.softmax_cross_entropy_with_integer_labels(outputs, LABELS).mean()


def value_fn(params):
    return loss_fn(model_fn(params))


SGD = optimizers.sgd(0.1)
# transformations whose first argument is no learning rate
STAGES = {
    "accumulate": optimizers.accumulate(SGD, 2),
    "adaptive_grad_clip": optimizers.adaptive_grad_clip(0.1),
    "add_decayed_weights": optimizers.add_decayed_weights(0.1),
    "chain": optimizers.chain(optimizers.clip_by_global_norm(1.0), SGD),
    "clip_by_block_rms": optimizers.clip_by_block_rms(1.0),
    "clip_by_global_norm": optimizers.clip_by_global_norm(1.0),
    "clip_by_norm": optimizers.clip_by_norm(1.0),
    "clip_by_value": optimizers.clip_by_value(1.0),
    "ema": optimizers.ema(0.9),
    "freeze": optimizers.freeze({"kernel": True, "bias": False}),
    "lbfgs": optimizers.lbfgs(),
    "masked": optimizers.masked(SGD, {"kernel": True, "bias": False}),
    "max_norm": optimizers.max_norm(0.1),
    "partition": optimizers.partition({"a": SGD, "b": optimizers.muon(0.1)}, {"kernel": "b", "bias": "a"}),
    "polyak_average": optimizers.polyak_average(0.9),
    "proximal_l1": optimizers.proximal_l1(0.1),
    "sam": optimizers.sam(SGD),
    "scale_by_group": optimizers.scale_by_group({"kernel": 0.1, "bias": 1.0}),
    "schedule_free": optimizers.schedule_free(SGD, 0.1),
    "set_to_zero": optimizers.set_to_zero(),
    "tail_average": optimizers.tail_average(2),
}
# functions of arrays or states: parts of the transformations above, and readers of their states
NO_TRANSFORMATION = {
    "LookaheadParams", "apply_updates", "averaged_params", "eval_params", "exponential_average", "fisher_product",
    "gauss_newton_product", "gradient_point", "hessian_product", "hutchinson_diagonal", "lookahead", "lookahead_params",
    "mask_by_path", "orthogonalize", "start_params", "update",
}  # fmt: skip


def transformations():
    callables = {name: getattr(optimizers, name) for name in optimizers.__all__ if callable(getattr(optimizers, name))}
    takes_rate = {name: f for name, f in callables.items() if "learning_rate" in list(inspect.signature(f).parameters)}
    found = {name: f(0.1) for name, f in takes_rate.items() if name not in STAGES} | STAGES
    assert set(found) | NO_TRANSFORMATION == set(callables)
    return found


@pytest.mark.slow
def test_every_optimizer_lowers():
    rows, columns = PARAMS["kernel"].reshape(-1, PARAMS["kernel"].shape[-1]).shape
    factors = {"": (jnp.eye(rows + ("bias" in PARAMS)), jnp.eye(columns))}
    given = {"value": value_fn(PARAMS), "value_fn": value_fn, "model_fn": model_fn, "loss_fn": loss_fn}
    given |= {"factors": factors}
    for name, optimizer in transformations().items():
        update = optax.with_extra_args_support(optimizer).update
        state = optimizer.init(PARAMS)
        step = lambda grads, state, params, update=update: update(grads, state, params, **given)
        try:
            lowered(step, jax.tree.map(jnp.ones_like, PARAMS), state, PARAMS)
        except (NotImplementedError, ValueError) as error:
            raise AssertionError(f"{name} does not lower") from error


def test_lookahead_lowers():
    optimizer = optimizers.lookahead(SGD, 5, 0.5)
    params = optimizers.LookaheadParams(PARAMS, jax.tree.map(jnp.copy, PARAMS))
    lowered(optimizer.update, PARAMS, optimizer.init(params), params)
