"""Analyse networks: cost per layer, receptive fields, saturation, the gradients of each part, curvature."""

from jaxdl.analysis.curvature import hessian_eigenvalues
from jaxdl.analysis.generalization import BiasVariance, Diagnosis, bias_variance, diagnose
from jaxdl.analysis.saturation import saturation
from jaxdl.analysis.signals import GradientNorms, gradient_norms
from jaxdl.analysis.summary import LayerRow, Summary, SummaryRow, count_parameters, layer_rows, summary

__all__ = [
    "BiasVariance",
    "Diagnosis",
    "GradientNorms",
    "LayerRow",
    "Summary",
    "SummaryRow",
    "bias_variance",
    "count_parameters",
    "diagnose",
    "gradient_norms",
    "hessian_eigenvalues",
    "layer_rows",
    "saturation",
    "summary",
]
