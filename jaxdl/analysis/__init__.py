"""Analyse networks: cost per layer, receptive fields, saturation."""

from jaxdl.analysis.saturation import saturation
from jaxdl.analysis.summary import LayerRow, Summary, SummaryRow, count_parameters, layer_rows, summary

__all__ = ["LayerRow", "Summary", "SummaryRow", "count_parameters", "layer_rows", "saturation", "summary"]
