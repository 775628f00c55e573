"""Calls with the words of PyTorch, Keras, flax and optax: the error names the right argument."""

import functools
import importlib.util
import inspect
import pickle
import re

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest

from jaxdl import (
    activations,
    analysis,
    counterparts,
    data,
    initializers,
    interop,
    layers,
    losses,
    metrics,
    models,
    nn,
    optimizers,
    schedules,
    sizes,
    training,
    words,
)

X = jnp.ones((2, 8, 8, 3))
KERNEL = jnp.ones((3, 3, 3, 4))
Z, Y = jnp.zeros((2, 3)), jnp.array([0, 1])
P, T = jnp.ones(3), jnp.zeros(3)

CALLED = [  # a wrong call, its word, and the right argument
    (lambda: nn.Conv(8, kernel_size=3), "kernel_size", "window"),
    (lambda: nn.Conv(8, 3, strides=2), "strides", "stride"),
    (lambda: nn.Conv(8, 3, use_bias=False), "use_bias", "bias"),
    (lambda: nn.Conv(8, 3, dilation_rate=2), "dilation_rate", "dilation"),
    (lambda: nn.Conv(8, 3, kernel_dilation=2), "kernel_dilation", "dilation"),
    (lambda: nn.Conv(8, 3, feature_group_count=2), "feature_group_count", "groups"),
    (lambda: nn.Conv(window=3, filters=8), "filters", "features"),
    (lambda: nn.Conv(window=3, out_channels=8), "out_channels", "features"),
    (lambda: nn.Conv(8, 3, kernel_initializer=None), "kernel_initializer", "kernel_init"),
    (lambda: nn.Dense(units=10), "units", "features"),
    (lambda: nn.Dense(out_features=10), "out_features", "features"),
    (lambda: nn.Dense(10, use_bias=False), "use_bias", "bias"),
    (lambda: nn.MaxPool(pool_size=2), "pool_size", "window"),
    (lambda: nn.AvgPool(window_shape=(2, 2)), "window_shape", "window"),
    (lambda: nn.MaxPool(2, strides=2), "strides", "stride"),
    (lambda: nn.Dropout(p=0.5), "p", "rate"),
    (lambda: nn.BatchNorm(epsilon=1e-3), "epsilon", "eps"),
    (lambda: nn.BatchNorm(use_scale=False), "use_scale", "scale"),
    (lambda: nn.BatchNorm(center=False), "center", "offset"),
    (lambda: layers.conv2d(X, weight=KERNEL), "weight", "kernel"),
    (lambda: layers.conv2d(input=X, kernel=KERNEL), "input", "x"),
    (lambda: layers.dropout(jax.random.key(0), X, p=0.5), "p", "rate"),
    (lambda: layers.dropout(rng=jax.random.key(0), x=X, rate=0.5), "rng", "key"),
    (lambda: layers.group_norm(X, P, T, num_groups=3), "num_groups", "groups"),
    (lambda: activations.softmax(Z, dim=-1), "dim", "axis"),
    (lambda: activations.log_softmax(Z, dim=0), "dim", "axis"),
    (lambda: activations.leaky_relu(Z, alpha=0.2), "alpha", "negative_slope"),
    (lambda: activations.relu(input=Z), "input", "x"),
    (lambda: losses.softmax_cross_entropy(y_pred=Z, labels=Y), "y_pred", "logits"),
    (lambda: losses.softmax_cross_entropy(Z, target=Y), "target", "labels"),
    (lambda: losses.softmax_cross_entropy(Z, Y, ignore_index=-100), "ignore_index", "where"),
    (lambda: losses.softmax_cross_entropy(Z, Y, weight=P), "weight", "class_weights"),
    (lambda: losses.sigmoid_binary_cross_entropy(Z, Z, weight=P), "weight", "pos_weight"),
    (lambda: losses.squared_error(P, y_true=T), "y_true", "targets"),
    (lambda: losses.squared_error(P, labels=T), "labels", "targets"),
    (lambda: losses.huber(P, T, mask=P > 0), "mask", "where"),
    (lambda: nn.LSTM(8, num_layers=2), "num_layers", "depth"),
    (lambda: nn.GRU(8, return_sequences=True), "return_sequences", "output"),
    (lambda: nn.LSTM(8, recurrent_initializer=None), "recurrent_initializer", "recurrent_init"),
    (lambda: losses.softmax_cross_entropy(Z, Y, ignore_class=-1), "ignore_class", "where"),
    (lambda: nn.MultiHeadAttention(8, num_heads=2), "num_heads", "heads"),
    (lambda: nn.MultiHeadAttention(embed_dim=8, heads=2), "embed_dim", "features"),
    (lambda: nn.MultiHeadAttention(8, 2, is_causal=True), "is_causal", "causal"),
    (lambda: nn.Embedding(num_embeddings=8, features=2), "num_embeddings", "symbols"),
    (lambda: nn.Embedding(8, embedding_dim=2), "embedding_dim", "features"),
    (lambda: nn.RMSNorm(elementwise_affine=False), "elementwise_affine", "scale"),
    (lambda: schedules.cosine_restarts(0.1, T_0=10), "T_0", "decay_steps"),
    (lambda: schedules.reduce_on_plateau(threshold=0.1), "threshold", "rtol"),
    (lambda: nn.MultiHeadAttention(8, nhead=2), "nhead", "heads"),
    (lambda: nn.RNN(8, nonlinearity=jnp.tanh), "nonlinearity", "activation"),
    (lambda: losses.sigmoid_binary_cross_entropy(Z, Z, pos_weights=P), "pos_weights", "pos_weight"),
    (lambda: metrics.roc_auc(y_score=P, labels=Y), "y_score", "logits"),
    (lambda: metrics.accuracy(Z, y_true=Y), "y_true", "labels"),
    (lambda: metrics.accuracy(Z, Y, where=Y > 0), "where", "weights"),
    (lambda: metrics.accuracy(Z, Y, mask=Y > 0), "mask", "weights"),
    (lambda: metrics.top_k_accuracy(Z, Y, top_k=2), "top_k", "k"),
    (lambda: metrics.calibration_bins(Z, Y, n_bins=2), "n_bins", "bins"),
    (lambda: optimizers.adam(lr=1e-3), "lr", "learning_rate"),
    (lambda: optimizers.adam(1e-3, beta_1=0.8), "beta_1", "b1"),
    (lambda: optimizers.adam(1e-3, epsilon=1e-7), "epsilon", "eps"),
    (lambda: optimizers.adamw(1e-3, wd=0.1), "wd", "weight_decay"),
    (lambda: optimizers.sgd(0.1, use_nesterov=True), "use_nesterov", "nesterov"),
    (lambda: optimizers.rmsprop(1e-3, rho=0.9), "rho", "decay"),
    (lambda: optimizers.rmsprop(1e-3, alpha=0.99), "alpha", "decay"),
    (
        lambda: schedules.polynomial(0.1, power=1, transition_steps=9, end_learning_rate=0.0),
        "end_learning_rate",
        "end_value",
    ),
    (lambda: schedules.reduce_on_plateau(min_delta=1e-3), "min_delta", "atol"),
    (lambda: schedules.linear(1.0, 0.1, total_iters=10), "total_iters", "transition_steps"),
    (lambda: schedules.exponential(0.1, decay_rate=0.5, decay_steps=9), "decay_steps", "transition_steps"),
]
TEN = data.Examples(np.zeros((10, 1)), np.zeros(10, np.int32))
REFUSED = [  # a wrong call, its word, and why there is no such argument
    (lambda: data.batches(TEN, 4, seed=0, epoch=0, drop_last=True), "drop_last", "batches leaves out what does not"),
    (lambda: data.eval_batches(TEN, 4, drop_remainder=False), "drop_remainder", "and eval_batches pads it"),
    (lambda: nn.BatchNorm(num_features=3), "num_features", "read from the input's shape"),
    (lambda: nn.Dense(10, in_features=3), "in_features", "read from the input's shape"),
    (lambda: nn.Conv(8, 3, in_channels=3), "in_channels", "read from the input's shape"),
    (lambda: nn.Conv(8, 3, activation="relu"), "activation", "layers of their own"),
    (lambda: nn.Conv(8, 3, data_format="NHWC"), "data_format", "channels are last"),
    (lambda: nn.Dense(10, name="logits"), "name", "named where it is used"),
    (lambda: losses.softmax_cross_entropy(Z, Y, reduction="mean"), "reduction", "per example"),
    (lambda: losses.binary_cross_entropy(P, T, from_logits=True), "from_logits", "sigmoid_binary_cross_entropy"),
    (lambda: activations.relu(Z, inplace=True), "inplace", "nothing is changed in place"),
    (lambda: nn.BatchNorm(use_running_average=True), "use_running_average", "train=False"),
    (lambda: nn.Embedding(8, 2, padding_idx=0), "padding_idx", "where="),
    (lambda: optimizers.sgd(0.1, dampening=0.9), "dampening", "momentum_form"),
    (lambda: optimizers.sgd(0.1, maximize=True), "maximize", "negative loss"),
    (lambda: schedules.step(0.1, gamma=0.1), "gamma", "boundaries_and_scales={step: factor}"),
    (lambda: schedules.step(0.1, step_size=30), "step_size", "boundaries_and_scales={step: factor}"),
    (lambda: nn.AvgPool(2, count_include_pad=True), "count_include_pad", "avg_pool2d(count_padding=True)"),
    (lambda: nn.MaxPool(2, ceil_mode=True), "ceil_mode", "padding"),
    (lambda: losses.ctc(Z[None], Y[None], zero_infinity=True), "zero_infinity", "jnp.where"),
    (lambda: losses.kl_divergence(Z, Y, log_target=True), "log_target", "exp"),
    (lambda: metrics.confusion_matrix(Z, Y, normalize="true"), "normalize", "divides"),
    (lambda: nn.LSTM(8, use_bias=False), "use_bias", "always has one"),
    (lambda: nn.LSTM(8, bias=False), "bias", "always has one"),
    (lambda: nn.LSTM(8, activation="relu"), "activation", "within a cell it is tanh"),
    (lambda: nn.GRU(8, activation=jnp.tanh), "activation", "RNN alone takes another"),
    (lambda: layers.gru(X[0], Z, KERNEL, KERNEL, activation=jnp.tanh), "activation", "within a cell it is tanh"),
    (lambda: nn.GRU(8, recurrent_activation="hard_sigmoid"), "recurrent_activation", "sigmoids"),
    (lambda: nn.LSTM(8, bidirectional=True, merge_mode="sum"), "merge_mode", "side by side"),
    (lambda: nn.LSTM(8, dropout=0.1), "dropout", "a layer of its own"),
    (lambda: nn.LSTM(8, batch_first=True), "batch_first", "(batch, time, features)"),
    (lambda: nn.GRU(8, reset_after=False), "reset_after", "as with reset_after=True"),
    (lambda: nn.LSTM(8, recurrent_dropout=0.1), "recurrent_dropout", "zoneout_rate="),
    (lambda: nn.LSTM(8, proj_size=4), "proj_size", "not projected"),
    (lambda: nn.RNN(8, go_backwards=True), "go_backwards", "reverse_sequence"),
    (lambda: schedules.reduce_on_plateau(mode="max"), "mode", "negate"),
    (lambda: optimizers.adam(1e-3, betas=(0.9, 0.999)), "betas", "b1 and b2"),
    (lambda: optimizers.adam(1e-3, amsgrad=True), "amsgrad", "an optimizer of its own"),
    (lambda: optimizers.adam(1e-3, params={}), "params", "init(params)"),
]


@pytest.mark.parametrize(("call", "word", "meant"), CALLED)
def test_a_word_of_another_library_is_answered_with_the_argument_that_is_meant(call, word, meant):
    with pytest.raises(TypeError, match=rf"^\w+: got {word}=, the argument is called {meant}$"):
        call()


@pytest.mark.parametrize(("call", "word", "why"), REFUSED)
def test_a_word_without_a_counterpart_is_answered_with_the_reason(call, word, why):
    with pytest.raises(TypeError, match=rf"^\w+: got {word}=, there is no such argument: .*{re.escape(why)}"):
        call()


@pytest.mark.parametrize("word", ["affine", "elementwise_affine"])
def test_a_word_for_two_arguments_is_answered_with_both(word):
    with pytest.raises(TypeError, match=f"^LayerNorm: got {word}=, the arguments are called scale and offset$"):
        nn.LayerNorm(**{word: False})


@pytest.mark.parametrize(
    ("call", "flag"),
    [
        (lambda: activations.gelu(Z, approximate="none"), "approximate"),
        (lambda: nn.LSTM(2, bidirectional="no"), "bidirectional"),
        (lambda: layers.rnn(Z, Z[0], Z, Z, train="false"), "train"),
        (lambda: optimizers.sgd(0.1, 0.9, nesterov="off"), "nesterov"),
    ],
)
def test_a_string_is_no_flag(call, flag):
    with pytest.raises(ValueError, match=f"^{flag}: got '.*', allowed are True and False$"):
        call()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: nn.RNN(4, activation="tanh"), "activation"),
        (lambda: nn.Conv(32, 3, kernel_init="he_normal"), "kernel_init"),
        (lambda: nn.SqueezeExcitation(4, gate="sigmoid"), "gate"),
        (lambda: layers.rnn(Z[None], Z, Z.T, Z, activation="relu"), "activation"),
    ],
)
def test_a_string_is_no_function(call, name):
    with pytest.raises(ValueError, match=rf"^{name}: got '\w+', allowed are functions, such as those of jaxdl\."):
        call()


def test_any_other_unknown_keyword_is_python_s_error():
    with pytest.raises(TypeError, match=r"got an unexpected keyword argument 'colour'"):
        layers.dense(Z, Z, T, colour=1)


def members():
    """Return every public function that recognises words of other libraries."""
    for module in (activations, losses, metrics, schedules, optimizers):
        for name in module.__all__:
            value = getattr(module, name)
            ours = inspect.isfunction(inspect.unwrap(value)) and value.__module__.startswith("jaxdl.")
            if ours and (module is not optimizers or "learning_rate" in inspect.signature(value).parameters):
                yield value


MODULES = (activations, losses, layers, nn, optimizers, metrics, schedules, models, initializers)
FOR_LAYERS_TO_COME = {"heads", "units", "size"}


def test_every_activation_loss_and_optimizer_is_asked_by_its_own_words():
    unasked = []
    for function in members():
        try:
            function(reduction=None, amsgrad=None, inplace=None)
        except TypeError as error:
            if "there is no such argument" not in str(error):
                unasked.append(function.__name__)
    assert not unasked


def test_the_table_names_arguments_that_exist_and_words_that_are_foreign():
    members = (getattr(module, name) for module in MODULES for name in module.__all__)
    functions = [getattr(member, "func", member) for member in members]  # models are partials
    functions = [f for f in functions if inspect.isfunction(inspect.unwrap(f))]
    arguments = {name for f in functions for name in inspect.signature(f).parameters}
    assert {name for meant in words.MEANT.values() for name in meant} - arguments <= FOR_LAYERS_TO_COME
    # those a function may lack without having another name for them
    assert set(words.MEANT) & set(words.WITHOUT_COUNTERPART) == {"use_bias", "dropout", "count_include_pad"}


def test_nothing_else_about_a_function_changes():
    assert str(inspect.signature(activations.softmax)).startswith("(x: ")
    assert activations.softmax.__doc__.startswith("Probabilities from logits")
    assert pickle.loads(pickle.dumps(losses.huber)) is losses.huber
    assert functools.partial(losses.huber, delta=2.0)(P, T).shape == (3,)
    plain = inspect.unwrap(losses.huber, stop=lambda f: not hasattr(f, "__wrapped__"))
    lowered = [jax.jit(f).lower(P, T).as_text() for f in (losses.huber, plain)]
    assert lowered[0].replace("called", "huber") == lowered[1].replace("called", "huber")
    hyper = optax.inject_hyperparams(optimizers.adam)(learning_rate=0.1)
    assert float(hyper.init({"w": P}).hyperparams["learning_rate"]) == np.float32(0.1)


@pytest.mark.parametrize("padding", ["same", "valid", "full"])
def test_paddings_may_be_written_in_lower_case(padding):
    for call in (
        lambda p: layers.conv2d(X, KERNEL, padding=p, stride=2),
        lambda p: layers.conv_transpose2d(X, KERNEL, padding=p, stride=2),
        lambda p: nn.Conv(4, 3, padding=p).init(jax.random.key(0), (8, 8, 3))[0]["kernel"],
        lambda p: jnp.asarray(nn.Conv(4, 3, padding=p).out_shape((8, 8, 3))),
        lambda p: layers.max_pool2d(X, window=3, padding=p),
        lambda p: layers.avg_pool2d(X, window=3, padding=p),
        lambda p: jnp.asarray(sizes.padding_amounts(8, 3, padding=p)),
        lambda p: jnp.asarray(sizes.crop_amounts(2, stride=3, padding=p, dilation=1)),
    ):
        np.testing.assert_array_equal(call(padding), call(padding.upper()))
    with pytest.raises(ValueError, match="padding: got 'Some', allowed are 'SAME'"):
        layers.conv2d(X, KERNEL, padding="Some")


def test_names_of_the_caller_s_own_are_no_words():
    net = nn.serial(reduce=nn.Dense(2), name=activations.relu, dtype=nn.Dense(3))
    assert list(net.children) == ["reduce", "name", "dtype"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.Dropout("0.5"), "rate: got '0.5', allowed is 0 ≤ rate < 1"),
        (lambda: schedules.reduce_on_plateau(patience="10"), "patience is '10': it must be a number"),
    ],
)
def test_a_string_is_no_number(monkeypatch, call, message):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        call()


def test_a_mask_with_an_axis_of_heads_is_told_that_it_is_for_all_of_them():
    x = jnp.ones((2, 3, 4))
    with pytest.raises(ValueError, match=r"mask: got shape \(2, 1, 3, 3\), allowed .* broadcast to \(2, 3, 3\)"):
        layers.multi_head_attention(x, x, x, jnp.ones((2, 1, 3, 3), bool), heads=2)


def test_a_position_of_eight_bits_serves_a_cache_of_any_length():
    new, cache = jnp.ones((1, 4)), jnp.linspace(-1, 1, 1200).reshape(300, 4)
    y, _, _ = layers.cached_attention(new, new, new, cache, cache, jnp.array(100, jnp.int8), heads=2)
    expected, _, _ = layers.cached_attention(new, new, new, cache, cache, jnp.array(100), heads=2)
    np.testing.assert_array_equal(y, expected)
    assert np.isfinite(y).all()


@pytest.mark.parametrize(
    ("module", "name", "meant"),
    [
        (nn, "Linear", "nn.Dense"),
        (nn, "Conv2d", "nn.Conv"),
        (nn, "ReLU", "activations.relu"),
        (nn, "Sequential", "nn.serial"),
        (losses, "CrossEntropyLoss", "losses.softmax_cross_entropy"),
        (losses, "BCEWithLogitsLoss", "losses.sigmoid_binary_cross_entropy"),
        (optimizers, "AdamW", "optimizers.adamw"),
        (schedules, "StepLR", "schedules.step"),
        (nn, "LeakyReLU", "activations.leaky_relu"),
        (nn, "Bidirectional", "nn.LSTM, nn.GRU and nn.RNN, with bidirectional=True"),
        (nn, "Upsample", "nn.serial, which takes any function of images"),
        (nn, "UpSampling2D", "nn.serial, which takes any function of images"),
        (nn, "Parameter", "nn.Layer"),
        (nn, "Lambda", "nn.serial, which takes any function"),
        (losses, "smooth_labels", "losses.softmax_cross_entropy, with label_smoothing"),
        (losses, "focal_loss", "losses.softmax_focal for class numbers, losses.sigmoid_focal for 0 and 1"),
        (losses, "hinge_loss", "losses.hinge"),
        (layers, "GroupNorm", "layers.group_norm"),
        (layers, "Dense", "layers.dense"),
        (data, "DataLoader", "data.batches and data.eval_batches"),
        (losses, "smooth_l1", "losses.huber"),
        (initializers, "xavier_uniform_", "initializers.glorot_uniform"),
        (initializers, "HeNormal", "initializers.he_normal"),
        (activations, "hardswish", "activations.hard_swish"),
        (metrics, "precision", "a field of metrics.scores"),
        (metrics, "AUROC", "metrics.roc_auc"),
        (models, "LeNet5", "models.lenet5"),
        (activations, "Identity", "activations.linear"),
        (optimizers, "EMA", "optimizers.polyak_average"),
        (metrics, "AUC", "metrics.roc_auc of scores and labels, metrics.area_under_curve of a curve"),
        (nn, "GRUCell", "nn.GRU, over a sequence; layers.gru_cell"),
        (nn, "TransformerEncoderLayer", "nn.TransformerBlock"),
        (nn, "HuberLoss", "losses.huber"),
        (nn, "CTCLoss", "losses.ctc"),
        (nn, "Softsign", "jax.nn.soft_sign, which nn.serial takes"),
        (nn, "DepthwiseConv2D", "nn.Conv, with groups"),
        (layers, "max_pool", "layers.max_pool2d"),
        (layers, "dot_product_attention", "layers.scaled_dot_product_attention"),
        (optimizers, "constant_schedule", "schedules.constant"),
        (optimizers, "softmax_cross_entropy", "losses.softmax_cross_entropy"),
        (metrics, "roc_auc_score", "metrics.roc_auc"),
        (training, "save_checkpoint", "training.checkpoints.save"),
        (interop, "load_state_dict", "interop.from_torch for tensors, interop.load for a file"),
        (interop, "from_flax", "interop.from_linen or interop.from_nnx"),
        (analysis, "count_params", "analysis.count_parameters"),
        (metrics, "precision_score", "a field of metrics.scores"),
        (metrics, "accuracy_score", "metrics.accuracy"),
        (metrics, "r2_score", "metrics.regression_scores"),
    ],
)
def test_a_name_of_another_library_is_answered_with_the_one_here(module, name, meant):
    with pytest.raises(AttributeError, match=rf"has no attribute '{name}'; here it is {re.escape(meant)}\b"):
        getattr(module, name)


def test_an_unknown_name_is_unknown_and_the_names_meant_exist():
    with pytest.raises(AttributeError, match=r"^module 'jaxdl\.nn' has no attribute 'Linnear'$"):
        nn.Linnear  # noqa: B018
    assert not hasattr(nn, "__path_of_nothing__")
    with pytest.raises(AttributeError, match=r"has no attribute 'identity'$"):
        optimizers.identity  # noqa: B018 - optax's is a transformation
    modules = {module.__name__.rpartition(".")[2]: module for module in (*MODULES, data, training, interop, analysis)}
    for said in counterparts.ABSENT.values():
        assert all(hasattr(jax.nn, name) for name in re.findall(r"jax\.nn\.(\w+)", said))
        for package, name in re.findall(r"(\w+)\.(\w+)", re.sub(r"\bjax\.nn\.\w+|\bjnp\.\w+", "", said)):
            assert importlib.util.find_spec(f"jaxdl.{name}") if package == "jaxdl" else name in modules[package].__all__


# optax's losses and schedules that have no counterpart here
NOT_HERE = {
    *("binary_dice_loss", "convex_kl_divergence", "ctc_loss_with_forward_probs", "dice_loss"),
    *("generalized_kl_divergence", "kl_divergence_with_log_targets", "make_fenchel_young_loss"),
    "multiclass_generalized_dice_loss",
    *("multiclass_hinge_loss", "multiclass_perceptron_loss"),
    *("multiclass_sparsemax_loss", "poly_loss_cross_entropy", "ranking_softmax_loss", "safe_softmax_cross_entropy"),
    *("sparsemax_loss", "piecewise_interpolate_schedule", "linear_onecycle_schedule", "StatefulSchedule"),
    *("WrappedSchedule", "InjectHyperparamsState", "InjectStatefulHyperparamsState", "inject_hyperparams"),
    "inject_stateful_hyperparams",
}


def test_every_loss_and_schedule_of_optax_is_here_answered_or_listed():
    silent = set()
    for module, theirs in ((losses, optax.losses), (schedules, optax.schedules)):
        for name in (one for one in vars(theirs) if not one.startswith("_") and callable(getattr(theirs, one))):
            try:
                getattr(module, name)
            except AttributeError as error:
                silent |= {name} if "here it is" not in str(error) else set()
    assert silent <= NOT_HERE


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: nn.Conv(1, 8, 3), "Conv: got 3 argument(s) without a name, allowed are 2, features, window; by name"),
        (lambda: nn.Dense(10, 5), "Dense: got 2 argument(s) without a name, allowed are 1, features; by name: bias, "),
        (lambda: nn.BatchNorm(8), "BatchNorm: got 1 argument(s) without a name, allowed are none; by name: momentum, "),
        (lambda: nn.serial(nn.Dense(3)), "serial: got 1 argument(s) without a name, allowed are none; each part has a"),
        (lambda: losses.huber(P, T, 2.0), "huber: got 3 argument(s) without a name, allowed are 2, predictions, targ"),
    ],
)
def test_an_argument_that_needs_its_name_is_told_so(call, said):
    with pytest.raises(TypeError, match="^" + re.escape(said)):
        call()


def test_a_list_is_refused_with_what_is_meant(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    tensor = type("Tensor", (), {"__module__": "torch"})()
    for values in ([1.0, 2.0], (1.0, 2.0), tensor):
        with pytest.raises(
            TypeError, match=r"^x: got a (list|tuple|Tensor), allowed are arrays .*; jnp\.asarray makes an arr"
        ):
            activations.sigmoid(values)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda: schedules.cosine(0.1, 10, eta_min=0.01),
            "alpha, a fraction of the first value: alpha=eta_min/in",
        ),
        (lambda: schedules.cosine_restarts(0.1, 10, eta_min=0.01), "called alpha, a fraction of the first value"),
        (
            lambda: schedules.one_cycle(total_steps=100, peak_value=0.1),
            "transition_steps, one less than PyTorch's total_",
        ),
        (lambda: schedules.reduce_on_plateau(min_lr=1e-5), "called min_scale, a fraction of the learning rate"),
        (
            lambda: losses.huber(P, T, beta=0.5),
            "delta, with which PyTorch's smooth L1 is this loss divided by",
        ),
    ],
)
def test_an_argument_of_another_scale_says_so(call, said):
    with pytest.raises(TypeError, match=said):
        call()
