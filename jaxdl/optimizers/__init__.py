"""Optimizers written from their formulas, interchangeable with optax's and explicit about conventions.

``NAME(learning_rate, ...)`` returns an ``optax.GradientTransformation`` with the argument names, the argument order
and the state tree of its optax namesake. ``convention=`` selects whose algorithm runs; ``conventions`` has the table.
"""

from typing import TYPE_CHECKING

from optax import apply_updates

from jaxdl import counterparts
from jaxdl.optimizers.adabelief import adabelief
from jaxdl.optimizers.adadelta import adadelta
from jaxdl.optimizers.adafactor import adafactor
from jaxdl.optimizers.adagrad import adagrad
from jaxdl.optimizers.adam import adam, adamw
from jaxdl.optimizers.adamax import adamax
from jaxdl.optimizers.adan import adan
from jaxdl.optimizers.ademamix import ademamix
from jaxdl.optimizers.adopt import adopt
from jaxdl.optimizers.amsgrad import amsgrad
from jaxdl.optimizers.averaging import averaged_params, ema, exponential_average, polyak_average, tail_average
from jaxdl.optimizers.clipping import (
    adaptive_grad_clip,
    clip_by_block_rms,
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
)
from jaxdl.optimizers.conventions import CONVENTIONS
from jaxdl.optimizers.curvature import fisher_product, gauss_newton_product, hessian_product, hutchinson_diagonal
from jaxdl.optimizers.dadapt_adamw import dadapt_adamw
from jaxdl.optimizers.grouping import freeze, mask_by_path, masked, partition, scale_by_group, set_to_zero
from jaxdl.optimizers.kfac import kfac
from jaxdl.optimizers.lamb import lamb
from jaxdl.optimizers.lars import lars
from jaxdl.optimizers.lbfgs import lbfgs
from jaxdl.optimizers.lion import lion
from jaxdl.optimizers.loops import eval_params, gradient_point, start_params, update
from jaxdl.optimizers.muon import muon, orthogonalize
from jaxdl.optimizers.nadam import nadam
from jaxdl.optimizers.prodigy import prodigy
from jaxdl.optimizers.radam import radam
from jaxdl.optimizers.rmsprop import rmsprop
from jaxdl.optimizers.rprop import rprop
from jaxdl.optimizers.sam import sam
from jaxdl.optimizers.schedule_free import schedule_free, schedule_free_adamw, schedule_free_sgd
from jaxdl.optimizers.second_order import gauss_newton, natural_gradient, newton, newton_cg
from jaxdl.optimizers.sgd import gd, momentum, nesterov, sgd
from jaxdl.optimizers.shampoo import shampoo
from jaxdl.optimizers.sign_sgd import sign_sgd
from jaxdl.optimizers.soap import soap
from jaxdl.optimizers.sophia import sophia
from jaxdl.optimizers.stages import add_decayed_weights, chain, max_norm, proximal_l1
from jaxdl.optimizers.states import LookaheadParams
from jaxdl.optimizers.wrapping import accumulate, lookahead, lookahead_params
from jaxdl.optimizers.yogi import yogi

__all__ = [
    "CONVENTIONS",
    "LookaheadParams",
    "accumulate",
    "adabelief",
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "adan",
    "adaptive_grad_clip",
    "add_decayed_weights",
    "ademamix",
    "adopt",
    "amsgrad",
    "apply_updates",
    "averaged_params",
    "chain",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "dadapt_adamw",
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
    "kfac",
    "lamb",
    "lars",
    "lbfgs",
    "lion",
    "lookahead",
    "lookahead_params",
    "mask_by_path",
    "masked",
    "max_norm",
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
    "prodigy",
    "proximal_l1",
    "radam",
    "rmsprop",
    "rprop",
    "sam",
    "scale_by_group",
    "schedule_free",
    "schedule_free_adamw",
    "schedule_free_sgd",
    "set_to_zero",
    "sgd",
    "shampoo",
    "sign_sgd",
    "soap",
    "sophia",
    "start_params",
    "tail_average",
    "update",
    "yogi",
]

if not TYPE_CHECKING:  # a checker of types would take every name for one of this module's
    __getattr__ = counterparts.absent(__name__, __all__)
