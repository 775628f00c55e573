"""`analysis.summary` against the lecture's table, published figures, nets by hand, and nonzero gradients."""

import importlib.util
import inspect

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from docs import make_zoo
from experiments import summary as command
from jaxdl import activations, analysis, initializers, layers, models, nn, plots

# the lecture's table of VGG-16: layer, output, memory in values, weights without biases
LECTURE_VGG16 = [
    ("INPUT", (224, 224, 3), 224 * 224 * 3, 0),
    ("CONV3-64", (224, 224, 64), 224 * 224 * 64, 1_728),
    ("CONV3-64", (224, 224, 64), 224 * 224 * 64, 36_864),
    ("POOL2", (112, 112, 64), 112 * 112 * 64, 0),
    ("CONV3-128", (112, 112, 128), 112 * 112 * 128, 73_728),
    ("CONV3-128", (112, 112, 128), 112 * 112 * 128, 147_456),
    ("POOL2", (56, 56, 128), 56 * 56 * 128, 0),
    ("CONV3-256", (56, 56, 256), 56 * 56 * 256, 294_912),
    ("CONV3-256", (56, 56, 256), 56 * 56 * 256, 589_824),
    ("CONV3-256", (56, 56, 256), 56 * 56 * 256, 589_824),
    ("POOL2", (28, 28, 256), 28 * 28 * 256, 0),
    ("CONV3-512", (28, 28, 512), 28 * 28 * 512, 1_179_648),
    ("CONV3-512", (28, 28, 512), 28 * 28 * 512, 2_359_296),
    ("CONV3-512", (28, 28, 512), 28 * 28 * 512, 2_359_296),
    ("POOL2", (14, 14, 512), 14 * 14 * 512, 0),
    ("CONV3-512", (14, 14, 512), 14 * 14 * 512, 2_359_296),
    ("CONV3-512", (14, 14, 512), 14 * 14 * 512, 2_359_296),
    ("CONV3-512", (14, 14, 512), 14 * 14 * 512, 2_359_296),
    ("POOL2", (7, 7, 512), 7 * 7 * 512, 0),
    ("FC", (4096,), 4096, 102_760_448),
    ("FC", (4096,), 4096, 16_777_216),
    ("FC", (1000,), 1000, 4_096_000),
]


@pytest.fixture(scope="module")
def vgg16():
    return analysis.summary(models.vgg16(), (224, 224, 3))


def test_the_lecture_s_table_of_vgg16_row_by_row(vgg16):
    kinds = {"INPUT": "input", "CONV": "conv", "POOL": "max_pool", "FC": "dense"}
    expected = [(kinds[name.split("3-")[0].rstrip("2")], *rest) for name, *rest in LECTURE_VGG16]
    rows = vgg16.compact().rows
    biases = [row.output[-1] if row.kind in ("conv", "dense") else 0 for row in rows]
    found = [(r.kind, r.output, r.activations, r.parameters - b) for r, b in zip(rows, biases, strict=True)]
    assert found == expected


def test_the_lecture_s_totals_and_its_erratum(vgg16):
    assert vgg16.activations == 15_237_608  # the lecture adds its rows up to 24 M
    assert vgg16.bytes == 60_950_432  # and to 96 MB
    assert vgg16.parameters == 138_357_544
    assert next(row.multiply_adds for row in vgg16.rows if row.layer == "fc6") == 102_760_448
    half = analysis.summary(models.vgg16(), (224, 224, 3), dtype=jnp.bfloat16)
    assert (half.activations, half.bytes) == (15_237_608, 30_475_216)


def test_most_memory_is_in_early_convolutions_and_most_parameters_in_late_dense_layers(vgg16):
    early = [row for row in vgg16.rows if row.kind == "conv" and row.layer.startswith(("conv1", "conv2"))]
    dense = [row for row in vgg16.rows if row.kind == "dense"]
    assert sum(row.activations for row in early) > vgg16.activations / 2
    assert sum(row.parameters for row in dense) > 0.85 * vgg16.parameters


# networks as wholes have their published figures in tests/test_zoo.py and docs/zoo.md


@pytest.mark.parametrize(
    ("layer", "path", "field"),
    [
        (models.vgg16(), "conv5_3", 196),
        (models.vgg16(), "pool5", 212),
        (models.alexnet(), "pool5", 195),
    ],
    ids=["vgg16-conv5_3", "vgg16-pool5", "alexnet-pool5"],
)
def test_published_receptive_fields(layer, path, field):
    rows = {row.layer: row.receptive_field for row in analysis.summary(layer, (224, 224, 3)).rows}
    assert rows[path] == (field, field)


def branched():
    """Build a net with strides, dilation, unequal windows and branches, and a subsampling function."""
    ones = {"kernel_init": initializers.constant(1.0)}
    far = nn.serial(a=nn.Conv(2, (3, 5), dilation=(2, 1), **ones), b=nn.AvgPool(3, stride=1, padding=1))
    return nn.serial(
        stem=nn.Conv(2, (4, 3), stride=(2, 1), padding="VALID", **ones),
        fork=nn.residual(far, nn.Conv(2, 1, **ones)),
        join=nn.parallel("concat", one=nn.Conv(1, 3, **ones), two=nn.identity),
        skip=nn.function(lambda x: x[:, ::2, ::3], kind="subsample"),
        last=nn.Conv(1, (1, 3), padding="VALID", **ones),
    )


def test_the_receptive_field_is_where_the_gradient_is_not_zero():
    net, in_shape = branched(), (60, 60, 1)
    params, state = net.init(jax.random.key(0), in_shape)
    height, width, _ = net.out_shape(in_shape)
    centre = lambda x: net.apply(params, state, x)[0][0, height // 2, width // 2, 0]
    touched = np.asarray(jax.grad(centre)(jnp.ones((1, *in_shape))))[0, :, :, 0] != 0
    seen = tuple(int(np.ptp(np.flatnonzero(touched.any(axis)))) + 1 for axis in (1, 0))
    assert analysis.summary(net, in_shape).rows[-1].receptive_field == seen


FUNCTIONS = {
    "average": lambda x: layers.avg_pool2d(x, window=3, stride=1, padding=1, count_padding=True),
    "an odd rest": lambda x: layers.avg_pool2d(x, window=(3, 2), stride=2),
    "two in turn": lambda x: layers.avg_pool2d(layers.avg_pool2d(x, window=3, stride=1), window=2),
    "flax": lambda x: flax.linen.avg_pool(x, (2, 4), (2, 3)),
    "by reshaping": lambda x: x[:, :18, :18].reshape(-1, 9, 2, 6, 3, 1).mean((2, 4)),
    "convolution": lambda x: layers.conv2d(x, jnp.ones((3, 5, 1, 1)), stride=(1, 2), dilation=(2, 1)),
    "crop": lambda x: x[:, 1:, 2:-1],
    "flip": lambda x: x[:, ::-1],
    "twice as large": lambda x: x.repeat(2, 1).repeat(2, 2),
    "pointwise": jnp.exp,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_field_through_a_function_is_where_the_gradient_is_not_zero(name):
    ones = {"kernel_init": initializers.constant(1.0), "padding": "VALID"}
    net, in_shape = nn.serial(a=nn.Conv(1, 3, **ones), f=FUNCTIONS[name], b=nn.Conv(1, 3, **ones)), (21, 21, 1)
    params, state = net.init(jax.random.key(0), in_shape)
    height, width, _ = net.out_shape(in_shape)
    centre = lambda x: net.apply(params, state, x)[0][0, height // 2, width // 2, 0]
    touched = np.asarray(jax.grad(centre)(jnp.full((1, *in_shape), 1e-3)))[0, :, :, 0] != 0
    seen = tuple(int(np.ptp(np.flatnonzero(touched.any(axis)))) + 1 for axis in (1, 0))
    assert analysis.summary(net, in_shape).rows[-1].receptive_field == seen


@pytest.mark.parametrize("stride", [2, 3])
def test_the_field_behind_upsampling_grows_by_parts_of_a_pixel(stride):
    ones = {"kernel_init": initializers.constant(1.0), "padding": "VALID"}
    net = nn.serial(
        a=nn.Conv(1, 3, **ones),
        up=nn.ConvTranspose(1, stride, stride=stride, **ones),
        b=nn.Conv(1, 5, **ones),
        c=nn.Conv(1, 5, **ones),
    )
    params, state = net.init(jax.random.key(0), in_shape := (21, 21, 1))
    height, width, _ = net.out_shape(in_shape)
    seen = [
        np.asarray(
            jax.grad(lambda x, at=at: net.apply(params, state, x)[0][0, at, width // 2, 0])(jnp.ones((1, *in_shape)))
        )
        for at in range(height // 2, height // 2 + stride)
    ]
    most = max(int((one[0, ..., 0] != 0).any(1).sum()) for one in seen)
    assert analysis.summary(net, in_shape).rows[-1].receptive_field == (most, most)


def test_the_field_behind_a_function_that_hides_what_it_sees_is_empty():
    net = nn.serial(a=nn.Conv(1, 3), f=lambda x: jnp.nan_to_num(x)[:, ::2], b=nn.Conv(1, 3))
    assert [row.receptive_field for row in analysis.summary(net, (21, 21, 1)).rows[1:]] == [(3, 3), (), ()]
    assert "()" not in str(analysis.summary(net, (21, 21, 1)))


def test_a_dense_layer_behind_flatten_and_a_global_pool_see_everything():
    net = nn.serial(
        conv=nn.Conv(2, 3, padding="VALID"),
        fork=nn.parallel(
            "concat",
            flat=nn.serial(flat=nn.flatten, relu=activations.relu, fc=nn.Dense(3)),
            pool=nn.global_avg_pool,
        ),
        fc=nn.Dense(2),
    )
    fields = {row.layer: row.receptive_field for row in analysis.summary(net, (8, 10, 1)).rows}
    assert fields["fork/flat/relu"] == (3, 3)
    assert fields["fork/flat/fc"] == fields["fork/pool"] == fields["fc"] == (8, 10)
    assert analysis.summary(models.mlp(), (64,)).rows[-1].receptive_field == ()


def attention(x):
    """Compute q q' v in 2 * n * n * d products, scan 4 products of (n, d) with (d, d), and branch."""
    weights = jnp.einsum("bnd,bmd->bnm", x, x)
    y = jnp.einsum("bnm,bmd->bnd", weights, x)
    y, _ = jax.lax.scan(lambda c, _: (jnp.matmul(c, jnp.ones((6, 6))), None), y, None, length=4)
    return jax.lax.cond(x.sum() > 0, lambda v: v @ jnp.ones((6, 6)), lambda v: v, y)


def test_products_of_foreign_functions_are_counted_from_their_traces():
    net = nn.serial(attention=attention, conv=nn.Conv(3, 3, groups=3), kernel=blur)
    with pytest.raises(ValueError, match="Conv takes images"):
        analysis.summary(net, (5, 6))
    rows = analysis.summary(nn.serial(attention=attention), (5, 6)).rows
    assert rows[-1].multiply_adds == 2 * 5 * 5 * 6 + 4 * 5 * 6 * 6 + 5 * 6 * 6
    rows = analysis.summary(nn.serial(conv=nn.Conv(6, 3, groups=3), blur=blur), (8, 8, 3)).rows
    assert [row.multiply_adds for row in rows] == [0, 8 * 8 * 6 * 9, 8 * 8 * 6 * 25]


def blur(x):
    """Apply a fixed 5x5 filter to each channel."""
    kernel = jnp.ones((5, 5, 1, x.shape[-1]))
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=x.shape[-1]
    )


def test_wrapped_and_opaque_networks():
    net = models.tiny_cnn()
    plain = analysis.summary(net, (8, 8, 1))
    assert analysis.summary(nn.compute_in(jnp.bfloat16, nn.remat(net)), (8, 8, 1)) == plain
    assert analysis.summary(nn.remat(net, within="stage."), (8, 8, 1)) == plain
    opaque = net._replace(op=net.op._replace(rebuild=None))
    (_, row) = analysis.summary(opaque, (8, 8, 1)).rows
    assert (row.layer, row.parameters, row.multiply_adds) == ("", plain.parameters, plain.multiply_adds)


def head_in_training(body, head):
    """Build a net whose head runs in training alone."""
    parts = nn.serial(body=body, head=head)

    def apply(params, state, x, *, train=False, key=None, axis_name=None):
        y, _ = body.apply(params["body"], {}, x)
        return (head.apply(params["head"], {}, y)[0] if train else y), state

    return parts._replace(apply=apply, op=nn.Op("head", rebuild=lambda new: head_in_training(**new)))


def test_layers_without_effect_on_the_output_do_not_run():
    def both(children):
        first, second = children.values()
        unused = nn.parallel(lambda outputs: outputs[0], **children)
        return unused._replace(op=nn.Op("first", rebuild=lambda new: both(new)), children={"a": first, "b": second})

    net = nn.remat(nn.serial(body=nn.Dense(4), fork=both({"a": nn.Dense(3), "b": nn.Dense(5)})))
    rows = {row.layer: row for row in analysis.summary(net, (2,)).rows}
    assert rows["fork/a"].multiply_adds == 12
    assert rows["fork/b"] == analysis.SummaryRow("fork/b", "dense", None, 0, 0, 25, 0, ())


def test_layers_that_do_not_run_in_evaluation_count_as_parameters_alone():
    rows = analysis.summary(head_in_training(nn.Dense(4), nn.Dense(2)), (3,)).rows
    assert rows[-1] == analysis.SummaryRow("head", "dense", None, 0, 0, 10, 0, ())
    assert analysis.summary(head_in_training(nn.Dense(4), nn.Dense(2)), (3,), train=True).rows[-1].multiply_adds == 8


def test_auxiliary_heads_vanish_in_evaluation():
    with_heads = models.googlenet(auxiliary=True)
    table, plain = (analysis.summary(net, (224, 224, 3)) for net in (with_heads, models.googlenet()))
    assert (plain.parameters, table.parameters) == (6_998_552, 13_378_280)
    assert (table.multiply_adds, table.activations) == (plain.multiply_adds, plain.activations)
    heads = [row.layer for row in table.rows if row.output is None]
    assert {name.split("/")[0] for name in heads} == {"aux1", "aux2"}
    assert analysis.summary(with_heads, (224, 224, 3), train=True).multiply_adds > plain.multiply_adds


def test_nothing_is_allocated():
    giant = nn.serial(a=nn.Dense(10**7), b=jnp.tanh, c=nn.Dense(10**7))
    assert analysis.summary(giant, (10**7,)).multiply_adds == 2 * 10**14


@pytest.mark.parametrize("name", [name for name in activations.__all__ if name not in ("noisy_relu", "prelu")])
def test_a_function_of_single_positions_is_not_run_for_its_receptive_field(name):
    net = nn.serial(a=nn.Conv(2, 3), f=getattr(activations, name))
    assert analysis.summary(net, (10**7, 10**7, 1)).rows[-1].receptive_field == (3, 3)


TABLE = """
| layer | kind    | output | activations | bytes | parameters | multiply-adds | receptive field |
| ----- | ------- | ------ | ----------: | ----: | ---------: | ------------: | --------------: |
| input | input   | 4×4×2  |          32 |   128 |            |               |             1×1 |
| conv  | conv    | 4×4×3  |          48 |   192 |         57 |           864 |             3×3 |
| flat  | flatten | 48     |             |       |            |               |             3×3 |
| fc    | dense   | 100    |         100 |   400 |      4,900 |         4,800 |             6×6 |
| total |         |        |         180 |   720 |      4,957 |         5,664 |                 |
"""


def small():
    return analysis.summary(nn.serial(conv=nn.Conv(3, 3), flat=nn.flatten, fc=nn.Dense(100)), (4, 4, 2))


def test_the_table_in_markdown_by_hand():
    assert small().markdown() == TABLE.strip()


def test_it_prints_by_rich_and_without_it_as_markdown(monkeypatch):
    words = lambda text: [w for w in text.replace("|", " ").split() if set(w) - set("-:─")]
    assert words(str(small())) == words(TABLE)
    assert "─" in str(small())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert str(small()) == small().markdown()


def test_the_command_line_prints_and_draws(capsys, tmp_path):
    options = ["lenet5", "--in-shape", "28", "28", "1", "--classes", "10", "--markdown", "--compact"]
    assert command.main([*options, "--figure", str(tmp_path / "lenet5.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "input", "conv1", "pool1", "conv2", "pool2", "fc1", "fc2", "fc3", "total",
    ]  # fmt: skip
    assert "61,706" in lines[-1]
    assert (tmp_path / "lenet5.png").stat().st_size > 5_000


@pytest.mark.parametrize("name", sorted({net.name for net in make_zoo.NETS if len(net.in_shape) == 3}))
def test_by_default_a_network_gets_the_images_that_it_was_made_for(name):
    shape, classes = command.made_for(f"{name}(dropout=0.1)")
    assert shape in [net.in_shape for net in make_zoo.NETS if net.name == name]
    assert classes == inspect.signature(getattr(models, name)).parameters["num_classes"].default


def test_the_command_line_needs_the_network_only(capsys):
    assert command.main(["lenet5", "--markdown"]) == 0
    assert "61,706" in capsys.readouterr().out
    assert command.main(["lenet5", "--markdown", "--classes", "11", "--in-shape", "28", "28", "3"]) == 0
    assert f"{61_706 + 85 + 2 * 6 * 25:,}" in capsys.readouterr().out


def test_the_picture_has_a_block_per_part_that_says_what_it_is(vgg16):
    figure = plots.network(vgg16, columns=8)
    drawn = [[text.get_text() for text in axes.texts] for axes in figure.axes if axes.texts]
    assert [name for name, _ in drawn] == [row.layer for row in vgg16.compact().rows]
    assert dict(map(tuple, drawn))["fc6"] == "4096\n103 M params\n103 M mult-adds"
    assert dict(map(tuple, drawn))["pool5"] == "7×7×512"
    stages = plots.network(analysis.summary(models.resnet18(), (64, 64, 3)))
    assert [axes.texts[0].get_text() for axes in stages.axes if axes.texts] == [
        "input", "conv1", "norm1", "pool1", "conv2", "conv3", "conv4", "conv5", "pool", "fc",
    ]  # fmt: skip
    shapes = [axes.texts[1].get_text().split("\n")[0] for axes in stages.axes if axes.texts]
    assert shapes == [
        "64×64×3", "32×32×64", "32×32×64", "16×16×64", "16×16×64", "8×8×128", "4×4×256", "2×2×512", "512", "1000",
    ]  # fmt: skip
    heights = [axes.patches[0].get_height() for axes in stages.axes if axes.patches]
    assert heights == sorted(heights, reverse=True)
    with pytest.raises(ValueError, match="depth and columns"):
        plots.network(vgg16, depth=0)
