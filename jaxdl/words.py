"""Errors for the keywords of other libraries: one of theirs is answered with the one that is meant here.

`kernel_size=3` to a function with `window`, or `lr=0.1` to an optimizer, is Python's TypeError for an unexpected
keyword with the right name in its message. The check is a decorator that looks at the names of keywords alone: nothing
is renamed silently, signatures stay as written, and nothing is left of it in a compiled function.
"""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

__all__ = ["MEANT", "WITHOUT_COUNTERPART", "own_words"]

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
        "alpha": ("negative_slope", "label_smoothing", "decay"),
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
        "total_iters": ("transition_steps", "decay_steps"),
        "decay_steps": ("transition_steps",),
        "end_learning_rate": ("end_value",),
        "min_delta": ("atol",),
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

_SCALED: Final = MappingProxyType(
    {  # of another scale than the word: what to write
        ("eta_min", "alpha"): ", a fraction of the first value: alpha=eta_min/init_value",
        ("total_steps", "transition_steps"): ", one less than PyTorch's total_steps",
        ("min_lr", "min_scale"): ", a fraction of the learning rate",
        ("beta", "delta"): ", with which PyTorch's smooth L1 is this loss divided by delta",
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
        "maximize": "the negative loss is one to minimise",
        "dampening": "momentum_form='ema' is a dampening equal to the momentum",
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
        "count_include_pad": "padding does not count in an average; layers.avg_pool2d(count_padding=True) counts it",
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
        "drop_last": "batches leaves out what does not fill the last batch, and eval_batches pads it",
        "drop_remainder": "batches leaves out what does not fill the last batch, and eval_batches pads it",
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
_FACTORS: Final = "boundaries_and_scales={step: factor} has the factor of each step"
_OF_STEPS: Final[Mapping[str, str]] = MappingProxyType({"gamma": _FACTORS, "step_size": _FACTORS})
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
            scaled = _SCALED.get((word, meant[0]), "")
            raise TypeError(f"{function.__name__}: got {word}=, the argument is called {meant[0]}{scaled}")
        within = _WITHIN_A_CELL if names.intersection(("recurrent_init", "recurrent_kernel")) else {}
        within = _OF_STEPS if "boundaries_and_scales" in names else within
        if why := within.get(word, WITHOUT_COUNTERPART.get(word)):
            raise TypeError(f"{function.__name__}: got {word}=, there is no such argument: {why}")
