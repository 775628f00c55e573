"""Looking at networks: what each layer costs."""

from jaxdl.analysis.saturation import saturation
from jaxdl.analysis.summary import LayerRow, count_parameters, layer_rows

__all__ = ["LayerRow", "count_parameters", "layer_rows", "saturation"]
