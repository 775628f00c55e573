"""The table of a network against counts and shapes worked out by hand."""

import jax
import jax.numpy as jnp
import pytest

from jaxdl import activations, analysis, models, nn
from jaxdl.analysis import LayerRow


def nested():
    return nn.serial(
        stem=nn.serial(z=nn.Conv(4, 3, stride=2), a=activations.relu, norm=nn.BatchNorm()),
        block=nn.residual(nn.serial(conv=nn.Conv(4, (1, 3), groups=2, bias=False), drop=nn.Dropout(0.5))),
        split=nn.parallel("concat", up=nn.Dense(3), down=nn.identity),
        pool=nn.AvgPool((2, 1)),
        flat=nn.flatten,
        head=nn.Dense(10),
    )


def test_layer_rows_of_a_nested_net_by_hand():
    assert analysis.layer_rows(nested(), (9, 8, 3)) == [
        LayerRow("stem/z", "conv", (5, 4, 4), 3 * 3 * 3 * 4 + 4),
        LayerRow("stem/a", "relu", (5, 4, 4), 0),
        LayerRow("stem/norm", "batch_norm", (5, 4, 4), 8),
        LayerRow("block/body/conv", "conv", (5, 4, 4), 1 * 3 * 2 * 4),
        LayerRow("block/body/drop", "dropout", (5, 4, 4), 0),
        LayerRow("block/shortcut", "identity", (5, 4, 4), 0),
        LayerRow("split/up", "dense", (5, 4, 3), 4 * 3 + 3),
        LayerRow("split/down", "identity", (5, 4, 4), 0),
        LayerRow("pool", "avg_pool", (2, 4, 7), 0),
        LayerRow("flat", "flatten", (56,), 0),
        LayerRow("head", "dense", (10,), 570),
    ]


@pytest.mark.parametrize(
    ("layer", "in_shape", "row"),
    [
        (nn.Dense(3), (4,), LayerRow("", "dense", (3,), 15)),
        (nn.flatten, [2, 3], LayerRow("", "flatten", (6,), 0)),
    ],
)
def test_a_leaf_is_a_table_of_one_row(layer, in_shape, row):
    assert analysis.layer_rows(layer, in_shape) == [row]
    assert analysis.count_parameters(layer, in_shape) == row.parameters


def test_a_net_without_anything():
    assert analysis.count_parameters(nn.serial(), (3,)) == 0
    assert analysis.layer_rows(nn.serial(a=nn.serial(b=jnp.tanh)), (3,)) == [LayerRow("a/b", "tanh", (3,), 0)]


@pytest.mark.parametrize(
    ("layer", "in_shape"),
    [(nested(), (9, 8, 3)), (models.lenet5(), (28, 28, 1)), (models.small_cnn(), (28, 28, 1))],
)
def test_rows_add_up_to_the_count_and_to_what_init_makes(layer, in_shape):
    rows = analysis.layer_rows(layer, list(in_shape))
    made, _ = jax.eval_shape(lambda: layer.init(jax.random.key(0), in_shape))
    total = sum(leaf.size for leaf in jax.tree.leaves(made))
    assert sum(row.parameters for row in rows) == analysis.count_parameters(layer, list(in_shape)) == total
    assert all(type(n) is int for row in rows for n in (*row.output, row.parameters))
    assert rows[-1].output == layer.out_shape(in_shape)


def test_nothing_is_allocated():
    giant = nn.serial(a=nn.Dense(10**7), b=jnp.tanh, c=nn.Dense(10**7))
    assert analysis.count_parameters(giant, (10**7,)) == 2 * (10**14 + 10**7)
    assert analysis.layer_rows(giant, (10**7,))[2].output == (10**7,)


def test_too_small_an_input_is_named():
    with pytest.raises(ValueError, match="in pool1: window: got 2"):
        analysis.layer_rows(models.lecture_torch(), (5, 5, 1))
    with pytest.raises(ValueError, match="in stage2: in pool: window: got 2"):
        analysis.count_parameters(models.tiny_cnn(), (3, 3, 1))
