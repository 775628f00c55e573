"""One call of each function in `jaxdl.layers`, for the laws of `tests/test_laws.py`."""

import numpy as np

from tests.examples import BOTH, IMAGE, Example, N, Z, normal, one_of, positive

EXAMPLES: dict[str, Example | list[Example]] = {
    "layers.dense": Example((Z, normal(4, 2), normal(2))),
    "layers.conv1d": Example((normal(N, 7, 2), normal(3, 2, 2), normal(2)), options={"stride": 2}),
    "layers.conv2d": [
        Example((IMAGE, normal(3, 2, 4, 3), normal(3))),
        Example(
            (IMAGE, normal(2, 3, 2, 4), normal(4)),
            options={"stride": (2, 1), "padding": "VALID", "dilation": (1, 2), "groups": 2},
        ),
    ],
    "layers.max_pool2d": Example((IMAGE,), options={"window": 3, "stride": 2}),
    "layers.avg_pool2d": Example((IMAGE,), options={"window": (2, 3), "padding": "SAME"}),
    "layers.global_avg_pool2d": Example((IMAGE,)),
    "layers.batch_norm": Example((IMAGE, normal(4), positive(4), normal(4), normal(4))),
    "layers.batch_statistics": Example((IMAGE,)),
    "layers.cached_attention": Example(
        (normal(N, 2, 4), normal(N, 2, 4), normal(N, 2, 6), normal(N, 5, 4), normal(N, 5, 6), np.int32(2)),
        (0, 1, 2, 3, 4),
        {"heads": 2},
    ),
    "layers.capsule_length": Example((Z,)),
    "layers.conv_transpose1d": Example(
        (normal(N, 4, 2), normal(3, 2, 3), normal(3)), options={"stride": 2, "padding": 1, "output_padding": 1}
    ),
    "layers.conv_transpose2d": Example((IMAGE, normal(3, 2, 4, 2), normal(2)), options={"stride": 2}),
    "layers.convolve1d": Example((Z, normal(3))),
    "layers.convolve2d": Example((normal(N, 4, 5), normal(3, 2)), options={"mode": "same"}),
    "layers.dropconnect": Example((normal(N, 4),), options={"rate": 0.4}),
    "layers.dropout": Example((Z,), options={"rate": 0.4}),
    "layers.dynamic_routing": Example((normal(N, 3, 2, 4),)),
    "layers.embed": Example((one_of(range(5), N, 4), normal(5, 3))),
    "layers.gaussian_dropout": Example((Z,), options={"rate": 0.4}),
    "layers.global_max_pool2d": Example((IMAGE,)),
    "layers.group_norm": Example((IMAGE, normal(4), normal(4)), options={"groups": 2}),
    "layers.gru": Example(
        (normal(N, 3, 2), normal(N, 2), normal(2, 6), normal(2, 6), normal(6), normal(2), one_of([1, 2, 3], N)),
        (0, 1, 6),
    ),
    "layers.gru_cell": Example((normal(N, 2), normal(N, 3), normal(3, 6), normal(2, 6), normal(6), normal(2)), BOTH),
    "layers.instance_norm": Example((IMAGE, normal(4), normal(4))),
    "layers.l2_pool2d": Example((IMAGE,), options={"padding": 1}),
    "layers.layer_norm": Example((Z, normal(4), normal(4))),
    "layers.layer_scale": Example((IMAGE, normal(4))),
    "layers.local_contrast_norm": Example((IMAGE,), options={"size": 3}),
    "layers.local_response_norm": Example((IMAGE,), options={"size": 3, "alpha": 0.3}),
    "layers.lstm": Example(
        (normal(N, 3, 2), (normal(N, 2), normal(N, 2)), normal(2, 8), normal(2, 8), normal(8)), BOTH
    ),
    "layers.lstm_cell": Example(
        ((normal(N, 2), normal(N, 2)), normal(N, 3), normal(3, 8), normal(2, 8), normal(8)), BOTH
    ),
    "layers.max_pool2d_argmax": Example((IMAGE,)),
    "layers.max_unpool2d": Example((normal(N, 2, 3, 4), one_of(range(30), N, 2, 3, 4)), BOTH, {"size": (5, 6)}),
    "layers.multi_head_attention": Example(
        (normal(N, 3, 4), normal(N, 5, 4), normal(N, 5, 6), one_of([0, 1], N, 3, 5) > 0), (0, 1, 2, 3), {"heads": 2}
    ),
    "layers.reverse_sequence": Example((normal(N, 4, 2), one_of([1, 2, 4], N)), BOTH),
    "layers.rms_norm": Example((Z, normal(4))),
    "layers.rnn": Example((normal(N, 3, 2), normal(N, 4), normal(2, 4), normal(4, 4), normal(4)), BOTH),
    "layers.rnn_cell": Example((normal(N, 4), normal(N, 3), normal(3, 4), normal(4, 4), normal(4)), BOTH),
    "layers.rotary": [
        Example((normal(N, 3, 4),)),
        Example((normal(N, 3, 4), normal(3)), options={"interleaved": False}),
    ],
    "layers.scaled_dot_product_attention": Example(
        (normal(N, 3, 4), normal(N, 5, 4), normal(N, 5, 2)), (0, 1, 2), {"causal": True, "scale": 0.3}
    ),
    "layers.shakeout": Example((normal(N, 4, 2),), options={"rate": 0.4, "c": 0.1, "per": "weight"}),
    "layers.sinusoidal_positions": Example((positive(N, 4),), options={"features": 6}),
    "layers.spatial_dropout": Example((IMAGE,), options={"rate": 0.4}),
    "layers.squeeze_excitation": Example((IMAGE, normal(4, 2), normal(2), normal(2, 4), normal(4))),
    "layers.stochastic_depth": Example((IMAGE,), options={"rate": 0.7}),
    "layers.squash": Example((Z,)),
    "layers.weighted_pool2d": Example((IMAGE, normal(2, 3))),
    "layers.whiteout": Example((Z, normal(4, 2), normal(2)), options={"sigma": 0.3, "gamma": 0.5, "ridge": 0.1}),
    "layers.zoneout": Example((Z, normal(N, 4)), BOTH, {"rate": 0.4}),
}
