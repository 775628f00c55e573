"""Networks, each declared with `jaxdl.nn`'s combinators: ``NAME(num_classes=10, *, options) -> nn.Layer``."""

from jaxdl.models.cnn import small_cnn, tiny_cnn
from jaxdl.models.deepobs import net_2c2d, net_3c3d
from jaxdl.models.lecture import lecture_keras, lecture_torch
from jaxdl.models.lenet import lenet5
from jaxdl.models.mlp import mlp, softmax_regression

__all__ = [
    "lecture_keras",
    "lecture_torch",
    "lenet5",
    "mlp",
    "net_2c2d",
    "net_3c3d",
    "small_cnn",
    "softmax_regression",
    "tiny_cnn",
]
