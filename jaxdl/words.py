"""Errors for the words of other libraries: a keyword or a name of theirs is answered with the one that is meant here.

`kernel_size=3` to a function with `window`, or `lr=0.1` to an optimizer, is Python's TypeError for an unexpected
keyword with the right name in its message. The check is a decorator that looks at the names of keywords alone: nothing
is renamed silently, signatures stay as written, and nothing is left of it in a compiled function.
"""

import functools
import inspect
import math
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

__all__ = ["ABSENT", "MEANT", "WITHOUT_COUNTERPART", "absent", "counterpart", "own_words"]

F = TypeVar("F", bound=Callable[..., Any])

_READ = "it is read from the input's shape"
_MEAN = "losses and metrics are per example: the caller writes .mean() or .sum()"
_PURE = "nothing is changed in place"

MEANT: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        # word of PyTorch, Keras, flax or optax: names here, of which a function has one
        "kernel_size": ("window", "size"),
        "pool_size": ("window",),
        "window_shape": ("window",),
        "strides": ("stride",),
        "dilation_rate": ("dilation",),
        "kernel_dilation": ("dilation",),
        "num_groups": ("groups",),
        "group_size": ("groups",),
        "feature_group_count": ("groups",),
        "use_bias": ("bias", "offset"),
        "use_scale": ("scale",),
        "center": ("offset",),
        "weight": ("kernel", "class_weights", "pos_weight", "scale"),
        "filters": ("features",),
        "units": ("features",),
        "out_features": ("features",),
        "out_channels": ("features",),
        "hidden_size": ("features", "units"),
        "num_heads": ("heads",),
        "embed_dim": ("features",),
        "d_model": ("features",),
        "hidden_dim": ("features", "hidden"),
        "num_embeddings": ("symbols",),
        "vocab_size": ("symbols", "num_classes"),
        "embedding_dim": ("features",),
        "max_length": ("length",),
        "patch_size": ("patch",),
        "num_layers": ("depth",),
        "return_sequences": ("output",),
        "sequence_lengths": ("lengths",),
        "is_causal": ("causal",),
        "nhead": ("heads",),
        "attn_mask": ("mask", "masked"),
        "qkv_features": ("features",),
        "nonlinearity": ("activation",),
        "pos_weights": ("pos_weight",),
        "logit_paddings": ("logit_lengths",),
        "label_paddings": ("label_lengths",),
        "stochastic_depth": ("depth_rate",),
        "drop_path": ("depth_rate",),
        "kernel_initializer": ("kernel_init",),
        "recurrent_initializer": ("recurrent_init",),
        "bias_initializer": ("bias_init",),
        "pad": ("padding",),
        "p": ("rate",),
        "drop_prob": ("rate",),
        "dropout_rate": ("rate",),
        "dropout": ("rate",),
        "dim": ("axis",),
        "dims": ("axis",),
        "axes": ("axis",),
        "epsilon": ("eps",),
        "training": ("train",),
        "is_training": ("train",),
        "rng": ("key",),
        "rngs": ("key",),
        "seed": ("key",),
        "input": ("x", "logits", "predictions", "log_probabilities", "probabilities"),
        "inputs": ("x", "logits", "predictions", "log_probabilities", "probabilities"),
        "y_pred": ("logits", "predictions", "log_probabilities", "probabilities"),
        "outputs": ("logits", "predictions", "log_probabilities", "probabilities"),
        "target": ("labels", "targets"),
        "targets": ("labels",),
        "labels": ("targets",),
        "y_true": ("labels", "targets"),
        "mask": ("where", "weights"),
        "where": ("weights",),
        "sample_weight": ("weights",),
        "weights": ("class_weights", "where"),
        "ignore_index": ("where",),
        "ignore_class": ("where",),
        "negative_slope": ("slope",),
        "alpha": ("negative_slope", "label_smoothing"),
        "smoothing": ("label_smoothing",),
        "input_lengths": ("logit_lengths",),
        "target_lengths": ("label_lengths",),
        "blank_id": ("blank",),
        "anchor": ("anchors",),
        "positive": ("positives",),
        "negative": ("negatives",),
        "count_include_pad": ("count_padding",),
        "top_k": ("k",),
        "n_bins": ("bins",),
        "num_bins": ("bins",),
        "y_score": ("logits", "probabilities"),
        "lr": ("learning_rate", "init_value", "peak_value"),
        "base_lr": ("init_value",),
        "max_lr": ("peak_value",),
        "initial_learning_rate": ("init_value",),
        "T_0": ("decay_steps",),
        "T_max": ("decay_steps",),
        "T_mult": ("period_factor",),
        "eta_min": ("alpha",),
        "min_lr": ("min_scale",),
        "threshold": ("rtol",),
        "gamma": ("decay_rate", "factor"),
        "milestones": ("boundaries_and_scales",),
        "total_steps": ("transition_steps", "decay_steps"),
        "step_size": ("learning_rate",),
        "beta1": ("b1",),
        "beta2": ("b2",),
        "beta_1": ("b1",),
        "beta_2": ("b2",),
        "beta": ("delta", "b1", "momentum"),
        "rho": ("decay", "b2"),
        "wd": ("weight_decay",),
        "l2": ("weight_decay",),
        "use_nesterov": ("nesterov",),
    }
)

TOGETHER: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {"affine": ("scale", "offset"), "elementwise_affine": ("scale", "offset")}
)
"""Words that two arguments here stand for, where a function has both; the first alone where it has but that."""

WITHOUT_COUNTERPART: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(
            ("num_features", "in_features", "in_channels", "input_size", "input_shape", "input_dim"), _READ
        ),
        "normalized_shape": "the axes are a property of the layer, and their length is read from the input's shape",
        **dict.fromkeys(("reduction", "reduce", "size_average"), _MEAN),
        "from_logits": "functions of logits and of probabilities have names of their own, such as "
        "sigmoid_binary_cross_entropy and binary_cross_entropy",
        "inplace": _PURE,
        "data_format": "channels are last",
        "padding_mode": "the input is padded with zeros; jnp.pad pads otherwise, before the layer",
        "keep_prob": "rate is the probability of dropping, 1 - keep_prob",
        "deterministic": "train=False in apply is deterministic",
        "track_running_stats": "the running statistics are in the layer's state",
        "activation": "activations are layers of their own, such as serial(dense=Dense(10), relu=relu)",
        "amsgrad": "optimizers.amsgrad is an optimizer of its own",
        "clipnorm": "chain(clip_by_global_norm(...), optimizer) clips",
        "clipvalue": "chain(clip(...), optimizer) clips",
        "use_bias": "it always has one, which may start and stay at 0",
        "dropout": "dropout is a layer of its own, such as serial(one=..., dropout=Dropout(0.5))",
        "padding_idx": "the padding is left out by where= in the loss, and by lengths or masks in the layers",
        "ceil_mode": "padding=((0, 1), (0, 1)) keeps the last, shorter window",
        "count_include_pad": "padding does not count in an average",
        "zero_infinity": "labels that do not fit have the loss inf and no gradient; jnp.where replaces it",
        "log_target": "the targets are probabilities; exp gives them",
        "normalize": "the matrix holds counts, which the caller divides",
        "use_running_average": "apply(..., train=False) uses the running statistics",
        "batch_first": "the order of axes is (batch, time, features)",
        "return_state": "output='last' returns the last output; layers.lstm returns the states of every step",
        "reset_after": "the reset gate multiplies after the recurrent product, as with reset_after=True",
        "recurrent_dropout": "zoneout_rate= lets units of the state keep their last value instead",
        "proj_size": "the state is not projected",
        "go_backwards": "layers.reverse_sequence turns the sequences round",
        "mode": "a falling value is an improvement; negate one that should grow",
        "average": "the figures are per class: the caller takes their mean",
        "betas": "b1 and b2 are two arguments",
        "params": "the parameters come with init(params) and update(grads, state, params)",
        "name": "a layer is named where it is used, as in serial(name=layer)",
        "dtype": "dtypes follow the arguments",
    }
)

_WITHIN_A_CELL: Final = MappingProxyType(
    {  # as WITHOUT_COUNTERPART, of recurrent networks
        "activation": "within a cell it is tanh, and the gates are sigmoids; RNN alone takes another",
        "recurrent_activation": "the gates are sigmoids",
        "bias": WITHOUT_COUNTERPART["use_bias"],
        "merge_mode": "both directions stand side by side, as with 'concat'",
    }
)
_CROSS_ENTROPY: Final = "losses.softmax_cross_entropy"
_FOCAL: Final = "losses.softmax_focal for class numbers, losses.sigmoid_focal for 0 and 1"
_ENDINGS: Final = ("loss", "schedule", "lr")
ABSENT: Final[Mapping[str, str]] = MappingProxyType(
    {
        # name in PyTorch, Keras, flax or optax, in lower case without underscores: what does that here
        "linear": "nn.Dense",
        "conv2d": "nn.Conv",
        "conv2dtranspose": "nn.ConvTranspose",
        "convtranspose2d": "nn.ConvTranspose",
        "maxpool2d": "nn.MaxPool",
        "maxpooling2d": "nn.MaxPool",
        "avgpool2d": "nn.AvgPool",
        "averagepooling2d": "nn.AvgPool",
        "adaptiveavgpool2d": "nn.global_avg_pool",
        "globalaveragepooling2d": "nn.global_avg_pool",
        "batchnorm1d": "nn.BatchNorm",
        "batchnorm2d": "nn.BatchNorm",
        "batchnormalization": "nn.BatchNorm",
        "layernormalization": "nn.LayerNorm",
        "dropout2d": "nn.SpatialDropout",
        "embed": "nn.Embedding",
        "sequential": "nn.serial, with a name for each part",
        "module": "nn.Layer, made by nn.serial or nn.function",
        "parameter": "nn.Layer, whose init returns the parameters",
        "lambda": "nn.serial, which takes any function of an array, or nn.function",
        "bidirectional": "nn.LSTM, nn.GRU and nn.RNN, with bidirectional=True",
        **dict.fromkeys(
            ("upsample", "upsampling2d"), "nn.serial, which takes any function of images; nn.ConvTranspose"
        ),
        **{
            name.replace("_", ""): f"activations.{name}"
            for name in (
                *("elu", "gelu", "glu", "leaky_relu", "log_softmax", "mish", "prelu", "relu", "relu6", "selu"),
                *("sigmoid", "silu", "softmax", "softplus", "swish", "tanh"),
            )
        },
        "functional": "jaxdl.layers and jaxdl.activations, functions of arrays",
        "init": "jaxdl.initializers",
        **dict.fromkeys(("modulelist", "moduledict"), "nn.serial, with a name for each part"),
        **dict.fromkeys(("multiheaddotproductattention", "selfattention"), "nn.MultiHeadAttention"),
        "dataloader": "data.batches and data.eval_batches",
        "tensordataset": "data.from_arrays",
        "imagefolder": "data.load, with the path of the folder",
        **dict.fromkeys(("randomsplit", "traintestsplit"), "data.split"),
        **dict.fromkeys(("crossentropy", "categoricalcrossentropy", "sparsecategoricalcrossentropy"), _CROSS_ENTROPY),
        "softmaxcrossentropywithintegerlabels": _CROSS_ENTROPY,
        "bce": "losses.binary_cross_entropy",
        "bcewithlogitsloss": "losses.sigmoid_binary_cross_entropy",
        "binarycrossentropywithlogits": "losses.sigmoid_binary_cross_entropy",
        "mse": "losses.squared_error",
        "meansquarederror": "losses.squared_error",
        "l1loss": "losses.absolute_error",
        "mae": "losses.absolute_error",
        "meanabsoluteerror": "losses.absolute_error",
        "smoothl1loss": "losses.huber",
        "kldiv": "losses.kl_divergence",
        "smoothlabels": "losses.softmax_cross_entropy, with label_smoothing=",
        "labelsmoothing": "losses.softmax_cross_entropy, with label_smoothing=",
        "focal": _FOCAL,
        "binaryfocalcrossentropy": _FOCAL,
        "categoricalfocalcrossentropy": _FOCAL,
        "l2": "losses.half_squared_error",
        "tripletmargin": "losses.triplet",
        "ntxent": "losses.info_nce",
        "cosineembedding": "losses.cosine_distance",
        "cosinesimilarity": "losses.cosine_distance, 1 minus it",
        "multiclasshinge": "losses.hinge",
        "multiclassperceptron": "losses.perceptron",
        "steplr": "schedules.step",
        "multisteplr": "schedules.step",
        "exponentiallr": "schedules.exponential",
        "exponentialdecay": "schedules.exponential",
        "cosineannealinglr": "schedules.cosine",
        "cosineannealingwarmrestarts": "schedules.cosine_restarts",
        "cosinedecay": "schedules.cosine",
        "warmupcosinedecay": "schedules.warmup around schedules.cosine",
        "cosineonecycle": "schedules.one_cycle",
        "reducelronplateau": "schedules.reduce_on_plateau",
        "piecewiseconstant": "schedules.step",
        "warmupconstant": "schedules.warmup around schedules.constant",
        "linearwarmup": "schedules.warmup",
        "warmupcosine": "schedules.warmup around schedules.cosine",
        "warmupexponentialdecay": "schedules.warmup around schedules.exponential",
        "cosinerestart": "schedules.cosine_restarts",
        "sgdr": "schedules.cosine_restarts",
        "join": "schedules.joined",
        "joinschedules": "schedules.joined",
        "sequentiallr": "schedules.joined",
        "lambdalr": "schedules.Schedule: any function of the number of updates",
        "lrscheduler": "jaxdl.schedules; a schedule takes the place of a learning rate",
        "multisteps": "optimizers.accumulate",
        "clipgradvalue": "optimizers.clip_by_value, in optimizers.chain",
        "clip": "optimizers.clip_by_value",
        "multitransform": "optimizers.partition",
        "clipgradnorm": "optimizers.clip_by_global_norm, in optimizers.chain",
    }
)

_FUNCTIONS: Final = ("activation", "gate")


def _where(name: str) -> str:
    return ".activations" if name in _FUNCTIONS else ".initializers"


def own_words(function: F) -> F:
    """Answer a keyword of another library with the name of the argument that is meant.

    Raises:
        ValueError: when the decorated function is called with a string for a flag, or for a function such as
            an activation or an initializer.
        TypeError: when the decorated function is called with more arguments than may go without a name, or with a
            keyword that it does not have and that is in `MEANT` or `WITHOUT_COUNTERPART`; any other unknown keyword is
            left to Python.
    """
    parameters = inspect.signature(function).parameters
    kinds = {parameter.kind for parameter in parameters.values()}
    names = frozenset(parameters)
    most = math.inf if inspect.Parameter.VAR_POSITIONAL in kinds else len(_placed(parameters))
    named_by_caller = inspect.Parameter.VAR_KEYWORD in kinds  # such as `serial(reduce=...)`
    flags = frozenset(name for name, one in parameters.items() if one.annotation in ("bool", bool))
    functions = frozenset(name for name in names if name in _FUNCTIONS or name.endswith("_init"))

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        if len(args) > most:
            raise TypeError(_too_many(function, parameters, len(args)))
        if named_by_caller:
            return function(*args, **kwargs)
        if not names.issuperset(kwargs):
            _explain(function, names, kwargs)
        for flag in flags.intersection(kwargs):
            if isinstance(kwargs[flag], str):  # "none" would count as true
                raise ValueError(f"{flag}: got {kwargs[flag]!r}, allowed are True and False")
        for name in functions.intersection(kwargs):
            if isinstance(kwargs[name], str):
                raise ValueError(
                    f"{name}: got {kwargs[name]!r}, allowed are functions, such as those of jaxdl{_where(name)}"
                )
        return function(*args, **kwargs)

    return called  # type: ignore[return-value]


def _placed(parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """Return the names of the arguments that may be given without them."""
    placed = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, one in parameters.items() if one.kind in placed]


def _too_many(function: Callable[..., Any], parameters: Mapping[str, inspect.Parameter], given: int) -> str:
    """Return the message for more arguments without a name than a function takes, as `Conv(1, 8, 3)` of PyTorch."""
    placed = _placed(parameters)
    allowed = f"{len(placed)}, {', '.join(placed)}" if placed else "none"
    said = f"{function.__name__}: got {given} argument(s) without a name, allowed are {allowed}"
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return f"{said}; each part has a name, as in {function.__name__}(conv=..., relu=...)"
    by_name = ", ".join(name for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY)
    read = "; the input's channels are read from its shape" if function.__module__.startswith("jaxdl.nn.") else ""
    return f"{said}; by name: {by_name or 'none'}{read}"


def _explain(function: Callable[..., Any], names: frozenset[str], given: Mapping[str, Any]) -> None:
    """Raise TypeError for the first keyword that another library calls so."""
    for word in given:
        if word in names:
            continue
        meant = [name for name in MEANT.get(word, ()) if name in names]
        pair = TOGETHER.get(word, ())
        if pair and names.issuperset(pair):
            raise TypeError(f"{function.__name__}: got {word}=, the arguments are called {' and '.join(pair)}")
        meant = meant or [name for name in pair if name in names]
        if meant:
            raise TypeError(f"{function.__name__}: got {word}=, the argument is called {meant[0]}")
        within = _WITHIN_A_CELL if names.intersection(("recurrent_init", "recurrent_kernel")) else {}
        if why := within.get(word, WITHOUT_COUNTERPART.get(word)):
            raise TypeError(f"{function.__name__}: got {word}=, there is no such argument: {why}")


def counterpart(name: str, own: Collection[str]) -> str | None:
    """Return what a name of another library is called here, or None.

    Args:
        name: theirs, also with their endings, such as ``MSELoss``.
        own: names here, also with a module before a dot, of which one may differ in case and underscores alone.
    """
    plain = {one.rpartition(".")[2].lower().replace("_", ""): one for one in reversed([*own])}
    word = name.lower().replace("_", "")
    short = next((word.removesuffix(end) for end in _ENDINGS if word.endswith(end)), word)
    return next((table[one] for one in (word, short) for table in (plain, ABSENT) if one in table), None)


def absent(module: str, names: Collection[str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module, which answers a name of another library with the one that is meant.

    Args:
        module: name of the module, such as "jaxdl.nn".
        names: its public names, of which one is meant that differs in case and underscores alone.
    """

    def missing(name: str) -> Any:
        meant = counterpart(name, [f"{module.rpartition('.')[2]}.{one}" for one in names])
        hint = f"; here it is {meant}" if meant and not name.startswith("_") else ""
        raise AttributeError(f"module {module!r} has no attribute {name!r}{hint}")

    return missing
