"""Names of other libraries, and what does that here: `losses.CrossEntropyLoss` says `losses.softmax_cross_entropy`."""

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, Final

__all__ = ["ABSENT", "absent", "counterpart"]

_CROSS_ENTROPY: Final = "losses.softmax_cross_entropy"
_FOCAL: Final = "losses.softmax_focal for class numbers, losses.sigmoid_focal for 0 and 1"
_SCORES: Final = "a field of metrics.scores, of a metrics.confusion_matrix"
_ENDINGS: Final = ("loss", "schedule", "lr", "score")


def _called(module: str, names: str) -> dict[str, str]:
    return {name.replace("_", ""): f"{module}.{name}" for name in names.split()}


ABSENT: Final[Mapping[str, str]] = MappingProxyType(
    {
        # name in PyTorch, Keras, flax or optax, in lower case without underscores, some in one module alone: what does
        # that here
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
        "grucell": "nn.GRU, over a sequence; layers.gru_cell is one step",
        **dict.fromkeys(("lstmcell", "optimizedlstmcell"), "nn.LSTM, over a sequence; layers.lstm_cell is one step"),
        **dict.fromkeys(
            ("rnncell", "simplecell", "simplernncell"), "nn.RNN, over a sequence; layers.rnn_cell is one step"
        ),
        "simplernn": "nn.RNN",
        **dict.fromkeys(("transformerencoderlayer", "transformerencoder"), "nn.TransformerBlock"),
        **dict.fromkeys(("batchnorm3d", "syncbatchnorm"), "nn.BatchNorm"),
        **dict.fromkeys(("instancenorm1d", "instancenorm2d"), "nn.InstanceNorm"),
        "groupnormalization": "nn.GroupNorm",
        "rmsnormalization": "nn.RMSNorm",
        **dict.fromkeys(("dropout1d", "spatialdropout1d", "spatialdropout2d"), "nn.SpatialDropout"),
        "depthwiseconv2d": "nn.Conv, with groups=",
        "separableconv2d": "nn.Conv, with groups=, and another of 1x1",
        **dict.fromkeys(
            ("zeropad2d", "zeropadding2d", "constantpad2d"), "padding= of nn.Conv; nn.serial takes jnp.pad"
        ),
        **dict.fromkeys(("reflectionpad2d", "replicationpad2d"), "nn.serial, which takes a function such as jnp.pad"),
        **dict.fromkeys(("concatenate", "add"), "nn.parallel, of branches by name"),
        **dict.fromkeys(("globalmaxpool2d", "globalmaxpooling2d"), "layers.global_max_pool2d, which nn.serial takes"),
        **dict.fromkeys(("rescaling", "normalization"), "data.normalize"),
        **dict.fromkeys(("randomflip", "randomcrop", "randomrotation"), "data.augmentation"),
        "maxpool": "layers.max_pool2d",
        "avgpool": "layers.avg_pool2d",
        "dotproductattention": "layers.scaled_dot_product_attention",
        "bidirectional": "nn.LSTM, nn.GRU and nn.RNN, with bidirectional=True",
        **dict.fromkeys(
            ("upsample", "upsampling2d"), "nn.serial, which takes any function of images; nn.ConvTranspose"
        ),
        **_called("activations", "elu gelu glu leaky_relu log_softmax mish prelu relu relu6 selu sigmoid silu softmax"),
        **_called("activations", "softplus swish tanh"),
        **_called("losses", "cosine_distance ctc hinge huber kl_divergence log_cosh nll sigmoid_binary_cross_entropy"),
        **_called("losses", "softmax_cross_entropy squared_error"),
        **_called("schedules", "constant cosine_restarts inverse_sqrt polynomial"),
        **{
            name.replace("_", ""): f"jax.nn.{name}, which nn.serial takes"
            for name in ("celu", "hard_sigmoid", "hard_tanh", "log_sigmoid", "soft_sign", "sparse_plus", "squareplus")
        },
        "onehot": "jax.nn.one_hot",
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
        "xavieruniform": "initializers.glorot_uniform",
        "xaviernormal": "initializers.glorot_normal",
        "kaiminguniform": "initializers.he_uniform",
        "kaimingnormal": "initializers.he_normal",
        "truncnormal": "initializers.truncated_normal",
        "calculategain": "initializers.gain",
        "hardsilu": "activations.hard_swish",
        "activations.identity": "activations.linear",
        "data.streaming": "a module to import: from jaxdl.data import streaming",
        "optimizers.ema": "optimizers.polyak_average, of the parameters; optimizers.ema averages updates",
        "smoothl1": "losses.huber",
        **dict.fromkeys(("precision", "recall", "f1", "precisionrecallfscoresupport"), _SCORES),
        "auroc": "metrics.roc_auc",
        "auc": "metrics.roc_auc of scores and labels, metrics.area_under_curve of a curve",
        "topkcategoricalaccuracy": "metrics.top_k_accuracy",
        "sparsetopkcategoricalaccuracy": "metrics.top_k_accuracy",
        "balancedaccuracy": "the mean of the recall of metrics.scores",
        "zeroone": "metrics.accuracy, 1 minus it",
        **dict.fromkeys(("categoricalaccuracy", "sparsecategoricalaccuracy"), "metrics.accuracy"),
        "r2": "metrics.regression_scores, of metrics.regression_sums",
        "expectedcalibrationerror": "metrics.calibration_error, of metrics.calibration_bins",
        "ece": "metrics.calibration_error, of metrics.calibration_bins",
        **dict.fromkeys(("savecheckpoint", "modelcheckpoint", "checkpointmanager"), "training.checkpoints.save"),
        **dict.fromkeys(("restorecheckpoint", "loadcheckpoint"), "training.checkpoints.restore"),
        "trainer": "training.fit, with a step of training.train_step",
        **dict.fromkeys(("dataparallel", "dataparallelism", "distributeddataparallel"), "training.data_parallel"),
        **dict.fromkeys(("dynamicscale", "gradscaler", "lossscaleoptimizer"), "training.loss_scaled"),
        "loadstatedict": "interop.from_torch for tensors, interop.load for a file",
        "statedict": "interop.to_torch",
        **dict.fromkeys(("fromflax", "fromlinenmodule"), "interop.from_linen or interop.from_nnx"),
        "toflax": "interop.to_linen or interop.to_nnx",
        **dict.fromkeys(("tosafetensors", "savefile"), "interop.write_safetensors"),
        "loadfile": "interop.read",
        **dict.fromkeys(("countparams", "numparams", "parametercount"), "analysis.count_parameters"),
        "tabulate": "analysis.summary",
        **dict.fromkeys(("findlr", "lrfinder", "learningratefinder"), "training.find_rate"),
        **dict.fromkeys(
            ("averagedmodel", "exponentialmovingaverage", "swa"), "optimizers.polyak_average or tail_average"
        ),
        "training.ema": "average_decay= of training.train_step",
        "createtrainstate": "training.create",
        "autocast": "nn.compute_in, around the network",
        "training.save": "training.checkpoints.save, or interop.save of weights",
        "training.load": "training.checkpoints.restore, or interop.load of weights",
        **dict.fromkeys(("training.predict", "training.test", "training.validate"), "training.evaluate"),
        "training.train": "training.fit",
        **dict.fromkeys(("loadsafetensors", "loadpth"), "interop.load"),
        "savesafetensors": "interop.save",
        "frompytorch": "interop.from_torch",
        "topytorch": "interop.to_torch",
        **dict.fromkeys(("stratifiedkfold", "kfold"), "data.k_fold"),
        **dict.fromkeys(("mnist", "cifar10", "fashionmnist"), "data.load, of the name of a data set"),
        **dict.fromkeys(("randomhorizontalflip", "randomresizedcrop"), "data.augmentation"),
        **dict.fromkeys(("rope", "rotaryembedding"), "layers.rotary"),
        **dict.fromkeys(("positionalencoding", "sinusoidalpositionalencoding"), "nn.SinusoidalPositions"),
        "sigmoidbinarycrossentropywithlogits": "losses.sigmoid_binary_cross_entropy",
        "bcewithlogits": "losses.sigmoid_binary_cross_entropy",
        "calibrationcurve": "metrics.reliability, of metrics.calibration_bins",
        "classificationreport": "metrics.scores, of a metrics.confusion_matrix",
        "scheduler": "jaxdl.schedules; a schedule takes the place of a learning rate",
    }
)


def counterpart(name: str, own: Collection[str]) -> str | None:
    """Return what a name of another library is called here, or None.

    Args:
        name: theirs, also with their endings, such as ``MSELoss``.
        own: names here, also with a module before a dot, of which one may differ in case and underscores alone.
    """
    plain = {one.rpartition(".")[2].lower().replace("_", ""): one for one in reversed([*own])}
    word = name.lower().replace("_", "")
    short = next((word.removesuffix(end) for end in _ENDINGS if word.endswith(end)), word)
    modules = {one.rpartition(".")[0] for one in own}
    if len(modules) == 1 and (there := ABSENT.get(f"{modules.pop()}.{word}")):
        return there
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
