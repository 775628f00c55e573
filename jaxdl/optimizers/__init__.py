"""Optimizers written from their formulas, interchangeable with optax's and explicit about conventions.

``NAME(learning_rate, ...)`` is an ``optax.GradientTransformation`` with its optax namesake's argument names,
order and state tree. ``convention=`` chooses whose algorithm it is; see ``conventions``.
"""

from optax import apply_updates

from jaxdl.optimizers.adaptive import adadelta, adagrad, rmsprop
from jaxdl.optimizers.averaging import averaged_params, ema, exponential_average, polyak_average, tail_average
from jaxdl.optimizers.clipping import (
    adaptive_grad_clip,
    clip_by_block_rms,
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
)
from jaxdl.optimizers.conventions import CONVENTIONS
from jaxdl.optimizers.descent import gd, momentum, nesterov, sgd
from jaxdl.optimizers.grouping import freeze, mask_by_path, masked, partition, scale_by_group, set_to_zero
from jaxdl.optimizers.layerwise import lamb, lars
from jaxdl.optimizers.loops import eval_params, gradient_point, start_params, update
from jaxdl.optimizers.moments import adam, adamw
from jaxdl.optimizers.orthogonal import muon, orthogonalize
from jaxdl.optimizers.quasi_newton import lbfgs
from jaxdl.optimizers.second_order import (
    fisher_product,
    gauss_newton,
    gauss_newton_product,
    hessian_product,
    hutchinson_diagonal,
    natural_gradient,
    newton,
    newton_cg,
)
from jaxdl.optimizers.signed import lion
from jaxdl.optimizers.stages import add_decayed_weights, chain
from jaxdl.optimizers.states import LookaheadParams
from jaxdl.optimizers.variants import adamax, amsgrad, nadam, radam
from jaxdl.optimizers.wrapping import accumulate, lookahead, lookahead_params

__all__ = [
    "CONVENTIONS",
    "LookaheadParams",
    "accumulate",
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "adaptive_grad_clip",
    "add_decayed_weights",
    "amsgrad",
    "apply_updates",
    "averaged_params",
    "chain",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "ema",
    "eval_params",
    "exponential_average",
    "fisher_product",
    "freeze",
    "gauss_newton",
    "gauss_newton_product",
    "gd",
    "gradient_point",
    "hessian_product",
    "hutchinson_diagonal",
    "lamb",
    "lars",
    "lbfgs",
    "lion",
    "lookahead",
    "lookahead_params",
    "mask_by_path",
    "masked",
    "momentum",
    "muon",
    "nadam",
    "natural_gradient",
    "nesterov",
    "newton",
    "newton_cg",
    "orthogonalize",
    "partition",
    "polyak_average",
    "radam",
    "rmsprop",
    "scale_by_group",
    "set_to_zero",
    "sgd",
    "start_params",
    "tail_average",
    "update",
]
