"""Losses, `loss(predictions | logits, targets | labels)`, never reduced over examples.

A loss whose formula couples the outputs of one example sums over the last axis: the losses of classes
(`softmax_cross_entropy`, `nll`, `kl_divergence`, `softmax_focal`, `margin`), of vectors (`cosine_distance`,
`contrastive`, `triplet`, `info_nce`) and of sequences (`ctc`). All others work element by element. Sums over outputs
and means over examples are the caller's: `half_squared_error(predictions, targets).sum() / m`. What else holds for
all of them:

* Results have the floating dtype of the arguments; float16 and bfloat16 are computed in float32.
* Shapes must fit exactly. Broadcasting (n, 1) against (n,) would silently compare all pairs of examples.
* Values are not checked, as that needs a host; labels that cannot be give NaN in loss and gradient. A class number that
  no class has does so in its own row. Where labels follow another convention than the loss, such as 0/1 for ±1, some
  of them look right, so one label that does not fit gives NaN in all of the call's results.
* Labels may be soft wherever a label is a share: distributions over the classes, and numbers in [0, 1] for one or
  several independent labels. `hinge` and `perceptron` are of signs alone.
* All take `where`, booleans of the result's shape. Where it is False the loss and all gradients are 0, whatever stands
  in the arguments, such as the label −1 or −100 of "ignore this one". The mean is then `losses.sum() / where.sum()`.
* `class_weights` weigh the classes and `pos_weight` the positive labels. Weights of examples are the caller's product.
* Complex arguments raise ValueError.

[Lecture rows C1-C5]
"""

from typing import TYPE_CHECKING

from jaxdl import counterparts
from jaxdl.losses.binary import binary_cross_entropy, hinge, perceptron, sigmoid_binary_cross_entropy, sigmoid_focal
from jaxdl.losses.classification import kl_divergence, margin, nll, softmax_cross_entropy, softmax_focal
from jaxdl.losses.embedding import contrastive, cosine_distance, info_nce, triplet
from jaxdl.losses.regression import (
    absolute_error,
    half_squared_error,
    huber,
    log_cosh,
    squared_error,
    squared_log_error,
)
from jaxdl.losses.sequence import ctc

__all__ = [
    "absolute_error",
    "binary_cross_entropy",
    "contrastive",
    "cosine_distance",
    "ctc",
    "half_squared_error",
    "hinge",
    "huber",
    "info_nce",
    "kl_divergence",
    "log_cosh",
    "margin",
    "nll",
    "perceptron",
    "sigmoid_binary_cross_entropy",
    "sigmoid_focal",
    "softmax_cross_entropy",
    "softmax_focal",
    "squared_error",
    "squared_log_error",
    "triplet",
]

if not TYPE_CHECKING:  # a checker of types would take every name for one of this module's
    __getattr__ = counterparts.absent(__name__, __all__)
