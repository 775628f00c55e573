"""Analyse networks: cost per layer, receptive fields, saturation, gradients, curvature, regions, robustness."""

from typing import TYPE_CHECKING

from jaxdl import counterparts
from jaxdl.analysis import changes
from jaxdl.analysis.curvature import condition_number, hessian_eigenvalues, largest_eigenvalue, sharpness
from jaxdl.analysis.generalization import BiasVariance, Diagnosis, bias_variance, diagnose
from jaxdl.analysis.maps import feature_maps
from jaxdl.analysis.noise import GradientNoise, batch_efficiency, gradient_noise
from jaxdl.analysis.percentiles import percentiles
from jaxdl.analysis.probing import linear_probe
from jaxdl.analysis.regions import LinearRegions, RegionBounds, folding_layers, linear_regions, region_bounds
from jaxdl.analysis.robustness import robustness
from jaxdl.analysis.saturation import dead_units, saturation
from jaxdl.analysis.signals import GradientNorms, gradient_norms
from jaxdl.analysis.summary import LayerRow, Summary, SummaryRow, count_parameters, layer_rows, summary
from jaxdl.analysis.watching import WatchedLayer, watched, watched_layers

__all__ = [
    "BiasVariance",
    "Diagnosis",
    "GradientNoise",
    "GradientNorms",
    "LayerRow",
    "LinearRegions",
    "RegionBounds",
    "Summary",
    "SummaryRow",
    "WatchedLayer",
    "batch_efficiency",
    "bias_variance",
    "changes",
    "condition_number",
    "count_parameters",
    "dead_units",
    "diagnose",
    "feature_maps",
    "folding_layers",
    "gradient_noise",
    "gradient_norms",
    "hessian_eigenvalues",
    "largest_eigenvalue",
    "layer_rows",
    "linear_probe",
    "linear_regions",
    "percentiles",
    "region_bounds",
    "robustness",
    "saturation",
    "sharpness",
    "summary",
    "watched",
    "watched_layers",
]

if not TYPE_CHECKING:  # a checker of types would take every name for one of this module's
    __getattr__ = counterparts.absent(__name__, __all__)
