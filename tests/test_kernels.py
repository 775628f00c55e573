"""Convolution by every method, and the choice between methods, in the modes that the laws do not cover."""

import csv
import functools
import itertools
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import conv_methods
from jaxdl import layers, nn
from jaxdl.kernels import METHODS, Axis, axes_of, choose, compute, native, tuned


def plain(x, kernel, *, stride=1):
    """The oracle: XLA's own convolution with XLA's own gradients."""
    return jax.lax.conv_general_dilated(x, kernel, (stride,) * 2, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def assert_close(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-4 * float(np.abs(y).max()))


def arrays(b=6, h=9, c_in=3, c_out=4, k=3):
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = (b, h, h, c_in), (k, k, c_in, c_out)
    return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=False)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_and_second_derivatives_are_xlas_own_for_every_method(method, stride):
    x, kernel = arrays(h=8)  # two and four divide 8, so columns can be folded

    def both(f):
        loss = lambda x, kernel: jnp.sum(jnp.sin(f(x, kernel)))
        first = jax.grad(loss, (0, 1))
        along = jax.jvp(lambda w: first(x, w), (kernel,), (jnp.cos(kernel),))[1]  # forward over reverse
        twice = jax.grad(lambda w: jnp.sum(jnp.square(first(x, w)[1])))(kernel)  # reverse over reverse
        return first(x, kernel), along, twice

    assert_close(
        jax.jit(lambda: both(functools.partial(layers.conv2d, stride=stride, method=method)))(),
        jax.jit(lambda: both(functools.partial(plain, stride=stride)))(),
    )


SAME3 = [Axis(n, 3, 1, 1, 1, 1) for n in (8, 40)]
VALID5, HALVING = Axis(12, 5, 1, 1, 0, 0), Axis(32, 3, 2, 1, 0, 1)
CHOICES = [  # (x, kernel, window, groups) -> (kernel's gradient, forward)
    ((64, 8, 8, 16), (3, 3, 16, 32), SAME3[0], 1, "folded", "xla"),  # the rows fit in the cache
    ((128, 40, 40, 16), (3, 3, 16, 32), SAME3[1], 1, "blocked", "xla"),  # they do not
    ((128, 40, 40, 16), (3, 3, 16, 16), SAME3[1], 1, "sliced", "xla"),  # too thin a product
    ((128, 40, 40, 3), (3, 3, 3, 16), SAME3[1], 1, "blocked", "xla"),  # folded columns widen it
    ((64, 40, 40, 1), (3, 3, 1, 6), SAME3[1], 1, "folded", "folded"),  # one channel, few kernels
    ((64, 9, 9, 64), (1, 1, 64, 128), Axis(9, 1, 1, 1, 0, 0), 1, "patches", "patches"),
    ((8, 8, 8, 16), (3, 3, 4, 32), SAME3[0], 4, "sliced", "sliced"),
    ((8, 8, 8, 32), (3, 3, 2, 32), SAME3[0], 16, "xla", "xla"),
    ((8, 8, 8, 16), (3, 3, 1, 16), SAME3[0], 16, "xla", "patches"),
    ((64, 40, 40, 64), (3, 3, 64, 96), SAME3[1], 1, "blocked", "padded"),  # one row is appended
    ((64, 12, 12, 20), (5, 5, 20, 50), VALID5, 1, "folded", "xla"),  # too few products to append rows
    ((128, 12, 12, 20), (5, 5, 20, 50), VALID5, 1, "blocked", "padded"),
    ((64, 40, 40, 128), (3, 3, 128, 96), SAME3[1], 1, "sliced", "xla"),  # a large kernel, so adding blocks takes longer
    ((8, 40, 40, 512), (3, 3, 512, 2048), SAME3[1], 1, "xla", "xla"),  # a kernel larger than the batch
]
INPUT_CHOICES = [  # (cotangent, kernel, window, groups) -> input's gradient
    ((64, 8, 8, 50), (5, 5, 20, 50), VALID5, 1, "patches"),
    ((64, 16, 16, 32), (3, 3, 16, 32), HALVING, 1, "patches"),
    ((64, 16, 16, 32), (3, 3, 8, 32), HALVING, 2, "patches"),
    ((64, 16, 16, 64), (3, 3, 3, 64), HALVING, 1, "patches"),  # few channels
    ((64, 40, 40, 64), (3, 3, 64, 64), SAME3[1], 1, "padded"),
    ((64, 40, 40, 16), (3, 3, 16, 16), SAME3[1], 1, "xla"),
]


@pytest.mark.parametrize("row", INPUT_CHOICES, ids=str)
def test_the_choice_for_the_input_is_by_shape(row):
    cotangent, kernel, window, groups, method = row
    assert choose("input_gradient", cotangent, kernel, (window, window), groups) == method


@pytest.mark.parametrize("row", CHOICES, ids=str)
def test_the_choice_is_by_shape(row):
    x, kernel, window, groups, gradient, forward = row
    delta = (x[0], window.outputs, window.outputs, kernel[-1])
    assert choose("kernel_gradient", x, delta, (window, window), groups) == gradient
    assert choose("forward", x, kernel, (window, window), groups) == forward


def measured():
    with (pathlib.Path(__file__).parents[1] / "benchmarks" / "conv_methods.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {key: list(group) for key, group in itertools.groupby(rows, lambda row: (row["shape"], row["product"]))}


@pytest.mark.parametrize(("key", "rows"), measured().items(), ids=lambda one: "-".join(one) if len(one) == 2 else "")
def test_the_choice_is_that_of_the_committed_table_and_not_slower_than_xlas_own(key, rows):
    shape = conv_methods.SHAPES[key[0]]
    axes = axes_of((shape.size,) * 2, (shape.window,) * 2, shape.stride, shape.padding, shape.dilation)
    x = (shape.batch, shape.size, shape.size, shape.c_in)
    kernel = (shape.window, shape.window, shape.c_in // shape.groups, shape.c_out)
    delta = (shape.batch, axes[0].outputs, axes[1].outputs, shape.c_out)
    a, b = {"forward": (x, kernel), "input gradient": (delta, kernel), "kernel gradient": (x, delta)}[key[1]]
    (chosen,) = [row for row in rows if row["chosen"]]
    (own,) = [row for row in rows if row["method"] == "xla"]
    assert choose(key[1].replace(" ", "_"), a, b, axes, shape.groups) == chosen["method"]
    assert float(chosen["milliseconds"]) <= 1.1 * float(own["milliseconds"])


def test_the_choice_is_made(monkeypatch):
    monkeypatch.setattr(native, "serves", lambda dtype: False)
    x, kernel = arrays(b=32, h=40, c_in=16, c_out=8, k=3)
    gradient = jax.jit(jax.grad(lambda w: jnp.sum(jnp.sin(layers.conv2d(x, w)))))
    # four slices are four convolutions; the forward pass is the fifth
    assert gradient.lower(kernel).as_text().count("stablehlo.convolution") == 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        *(((examples, 6, 6, 8), sizes) for examples, sizes in ((39, {13}), (40, {10}), (14, {14}), (1, {1}))),
        *(((examples, 6, 6, 8), sizes) for examples, sizes in ((37, {13, 11}), (49, {13, 10}))),  # no good divisor
        *(((examples, 6, 6, 16), sizes) for examples, sizes in ((39, {7, 4}), (40, {5}))),
        ((4, 6, 6, 128), {1}),  # one example alone exceeds the block
        ((100, 9, 8), {50}),
    ],
)
def test_blocks_of_the_batch_add_up(monkeypatch, shape, sizes):
    monkeypatch.setattr(tuned, "BLOCK", 14 * 8 * 6 * 3 * 8)  # 14 examples of 6 × 6 × 8, or 7 of 16 channels
    examples, *lengths, c_in = shape
    x, delta = (jax.random.normal(jax.random.key(c), (examples, *lengths, c)) for c in (c_in, 4))
    axes = axes_of(lengths, (3,) * len(lengths), 1, "SAME", 1)
    of_blocks = functools.partial(compute, "kernel_gradient", axes=axes, method="blocked")
    sliced = re.findall(r"slice_sizes=\((\d+),", str(jax.make_jaxpr(of_blocks)(x, delta)))
    assert set(map(int, sliced)) == sizes
    own = functools.partial(compute, "kernel_gradient", axes=axes)
    assert_close(jax.jit(of_blocks)(x, delta), own(x, delta))
    # the product is linear in both, and JAX differentiates the loop itself
    loss = lambda f: lambda x, delta: jnp.sum(jnp.sin(f(x, delta)))
    assert_close(jax.grad(loss(of_blocks), (0, 1))(x, delta), jax.grad(loss(own), (0, 1))(x, delta))


@pytest.mark.parametrize("examples", [16, 14])  # blocks of 2, and of 2 with one left over
def test_blocks_add_up_on_each_device_of_a_shard_map(monkeypatch, examples):
    """The default check of what varies between devices accepts it."""
    monkeypatch.setattr(tuned, "BLOCK", 2 * 8 * 6 * 3 * 8)
    x, delta = (jax.random.normal(jax.random.key(c), (examples, 6, 6, c)) for c in (8, 4))
    own = functools.partial(compute, "kernel_gradient", axes=axes_of((6, 6), (3, 3), 1, "SAME", 1))
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("d",))
    parts = jax.sharding.PartitionSpec("d")
    of_blocks = lambda x, delta: jax.lax.psum(own(x, delta, method="blocked"), "d")
    summed = jax.shard_map(of_blocks, mesh=mesh, in_specs=parts, out_specs=jax.sharding.PartitionSpec())
    assert_close(jax.jit(summed)(x, delta), own(x, delta))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("examples", "c_in", "c_out"), [(0, 2, 3), (4, 0, 3), (4, 2, 0)])
def test_nothing_to_convolve_gives_zeros(method, examples, c_in, c_out):
    x, delta = jnp.ones((examples, 6, 6, c_in)), jnp.ones((examples, 6, 6, c_out))
    axes = axes_of((6, 6), (3, 3), 1, "SAME", 1)
    found = compute("kernel_gradient", x, delta, axes, method=method)
    np.testing.assert_array_equal(found, np.zeros((3, 3, c_in, c_out)))


def test_blocks_of_half_precision_are_added_in_float32(monkeypatch):
    monkeypatch.setattr(tuned, "BLOCK", 1)
    x = jnp.ones((600, 1, 1, 1), jnp.bfloat16)  # in bfloat16, 256 + 1 is 256
    axes = axes_of((1, 1), (1, 1), 1, "SAME", 1)
    found = compute("kernel_gradient", x, x, axes, method="blocked")
    assert found.dtype == jnp.bfloat16
    assert float(found[0, 0, 0, 0]) == 600


OPTIONS = [
    {"stride": 2, "padding": "SAME"},
    {"stride": 3, "padding": "VALID"},
    {"stride": (1, 2), "padding": ((2, 0), (0, 1)), "dilation": (2, 1)},
    {"stride": 2, "padding": "FULL", "groups": 2},
    {"padding": "VALID"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_each_product_by_every_method_is_a_loops(method, options):
    rng = np.random.default_rng(0)
    groups = options.get("groups", 1)
    x, kernel = rng.standard_normal((2, 7, 9, 4)), rng.standard_normal((3, 2, 4 // groups, 6))
    y, pullback = jax.vjp(lambda *pair: layers.conv2d(*pair, **options, method=method), jnp.array(x), jnp.array(kernel))
    delta = rng.standard_normal(y.shape)
    axes = axes_of(
        x.shape[1:3], kernel.shape[:2], options.get("stride", 1), options["padding"], options.get("dilation", 1)
    )
    expected, dx, dw = np.zeros(y.shape), np.zeros(x.shape), np.zeros(kernel.shape)
    for i, j, p, q in np.ndindex(*y.shape[1:3], *kernel.shape[:2]):
        u, v = (
            axis.stride * at + axis.dilation * place - axis.low
            for axis, at, place in zip(axes, (i, j), (p, q), strict=True)
        )
        if not (0 <= u < x.shape[1] and 0 <= v < x.shape[2]):
            continue
        for group in range(groups):
            ins = slice(group * 4 // groups, (group + 1) * 4 // groups)
            outs = slice(group * 6 // groups, (group + 1) * 6 // groups)
            expected[:, i, j, outs] += x[:, u, v, ins] @ kernel[p, q, :, outs]
            dx[:, u, v, ins] += delta[:, i, j, outs] @ kernel[p, q, :, outs].T
            dw[p, q, :, outs] += x[:, u, v, ins].T @ delta[:, i, j, outs]
    for got, want in zip((y, *pullback(jnp.array(delta, y.dtype))), (expected, dx, dw), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["patches", None])
def test_sixteen_bit_places_add_up_in_float32(method):
    x, kernel = jnp.ones((1, 20, 20, 1), jnp.bfloat16), jnp.ones((19, 19, 1, 1), jnp.bfloat16)
    conv = lambda x: layers.conv2d(x, kernel, padding="VALID", method=method)
    assert (conv(x) == 360).all()  # 361 places, rounded once; a sum of ones in bfloat16 stops at 256
    gradient = jax.grad(lambda x: jnp.sum(layers.conv2d(x, kernel, padding="SAME", method=method)))(x)
    assert gradient[0, 10, 10, 0] == 360


@pytest.mark.parametrize("groups", [2, 6])
@pytest.mark.parametrize("method", [None, *METHODS])
def test_groups_by_every_method_are_xlas_own(method, groups):
    x, kernel = arrays(c_in=6, c_out=6)
    kernel = kernel[:, :, : 6 // groups]

    def gradients(f):
        return jax.jit(jax.grad(lambda *pair: jnp.sum(jnp.sin(f(*pair))), (0, 1)))(x, kernel)

    ours = functools.partial(layers.conv2d, groups=groups, method=method)
    theirs = functools.partial(
        jax.lax.conv_general_dilated,
        window_strides=(1, 1),
        padding="SAME",
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    assert_close(gradients(ours), gradients(theirs))


@pytest.mark.parametrize(("h", "k", "padding"), [(8, 3, "SAME"), (12, 5, "VALID"), (9, 4, "VALID"), (8, 5, "FULL")])
def test_folded_columns_of_odd_and_even_windows(h, k, padding):
    x, kernel = arrays(h=h, c_in=1, c_out=5, k=k)
    amounts = [(k - 1, k - 1)] * 2 if padding == "FULL" else padding

    def all_three(f):
        y, pullback = jax.vjp(f, x, kernel)
        return y, pullback(jnp.cos(y))

    ours = functools.partial(layers.conv2d, padding=padding, method="folded")
    theirs = lambda x, w: jax.lax.conv_general_dilated(
        x, w, (1, 1), amounts, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    assert_close(jax.jit(lambda: all_three(ours))(), jax.jit(lambda: all_three(theirs))())


@pytest.mark.parametrize("options", [{}, {"groups": 2}, {"dilation": 2}, {"padding": ((0, 1), (2, 0))}], ids=str)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_transposed_convolutions_gradients_and_second_derivatives_are_xlas_own(k, options):
    """With "SAME" and a 1×1 window the crop is negative, so zeros are appended."""
    groups = options.get("groups", 1)
    x, kernel = arrays(b=2, h=4, c_in=4, c_out=2, k=k)
    kernel = kernel[:, :, : 4 // groups]

    def plain_transposed(x, kernel):
        dilation = options.get("dilation", 1)
        extent = dilation * (k - 1) + 1
        total = max(extent - 2, 0)
        same = (total // 2, extent - 2 - total // 2)  # 2 is the stride
        crops = options.get("padding", (same, same))
        return jax.lax.conv_general_dilated(
            x,
            jnp.flip(kernel, (0, 1)),
            (1, 1),
            [(extent - 1 - low, extent - 1 - high) for low, high in crops],
            lhs_dilation=(2, 2),
            rhs_dilation=(dilation,) * 2,
            feature_group_count=groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    def everything(f):
        loss = lambda x, kernel: jnp.sum(jnp.sin(f(x, kernel)))
        first = jax.grad(loss, (0, 1))
        along = jax.jvp(lambda w: first(x, w), (kernel,), (jnp.cos(kernel),))[1]
        return f(x, kernel), first(x, kernel), along

    ours = functools.partial(layers.conv_transpose2d, stride=2, **options)
    assert_close(jax.jit(lambda: everything(ours))(), jax.jit(lambda: everything(plain_transposed))())


@pytest.mark.parametrize("groups", [1, 2])
def test_no_zeros_are_put_between_what_a_strided_convolution_gives_back(groups):
    """XLA on CPU skips the zeros of a dilation, but would multiply by those of a padded array."""
    x, kernel = arrays(c_in=4)
    kernel = kernel[:, :, : 4 // groups]
    forward = functools.partial(layers.conv2d, stride=2, groups=groups)
    back = functools.partial(layers.conv_transpose2d, stride=2, groups=groups)
    y = forward(x, kernel)
    for program in (
        jax.jit(lambda y: jax.vjp(lambda x: forward(x, kernel), x)[1](y)),
        jax.jit(lambda y: back(y, kernel)),
    ):
        text = program.lower(y).as_text()
        assert text.count("lhs_dilate = [2, 2]") == text.count("stablehlo.convolution") == groups
        assert "interior = [0, 1" not in text


def test_one_by_one_windows_are_matrix_products():
    x, kernel = arrays(k=1)
    axes = tuple(Axis(9, 1, 1, 1, 0, 0) for _ in range(2))
    assert choose("kernel_gradient", x.shape, (*x.shape[:-1], 4), axes) == "patches"
    gradient = lambda f: jax.grad(lambda w: jnp.sum(jnp.sin(f(x, w))))(kernel)
    assert_close(gradient(layers.conv2d), gradient(plain))


@pytest.mark.slow
def test_vmap_over_either_or_both_arguments_with_gradients():
    x, kernel = arrays()
    xs, kernels = jnp.stack([x, 2 * x]), jnp.stack([kernel, -kernel])
    for in_axes, args in (((0, None), (xs, kernel)), ((None, 0), (x, kernels)), ((0, 0), (xs, kernels))):
        ours, theirs = (
            jax.vmap(jax.grad(lambda a, b, f=f: jnp.sum(jnp.sin(f(a, b))), (0, 1)), in_axes)(*args)
            for f in (layers.conv2d, plain)
        )
        assert_close(ours, theirs)


def test_a_batch_split_over_devices_gives_the_same_gradient():
    x, kernel = arrays(b=8)
    gradient = jax.grad(lambda w, x: jnp.sum(jnp.sin(layers.conv2d(x, w))))
    whole = gradient(kernel, x)
    mapped = jax.pmap(lambda x: jax.lax.psum(gradient(kernel, x), "i"), axis_name="i")(x.reshape(4, 2, *x.shape[1:]))
    assert_close(mapped[0], whole)
    mesh = jax.make_mesh((4,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.device_put(x, jax.NamedSharding(mesh, jax.P("i")))
    assert_close(jax.jit(gradient)(kernel, split), whole)


def test_scan_remat_and_bfloat16():
    x, kernel = arrays()

    def steps(f):
        def one(w, _):
            return w - 1e-3 * jax.grad(lambda w: jnp.sum(jnp.sin(jax.checkpoint(f)(x, w))))(w), None

        return jax.lax.scan(one, kernel, None, length=3)[0]

    assert_close(steps(layers.conv2d), steps(plain))
    half = jax.grad(lambda w: layers.conv2d(x.astype(jnp.bfloat16), w).astype(jnp.float32).sum())(
        kernel.astype(jnp.bfloat16)
    )
    assert half.dtype == jnp.bfloat16


def test_patches_lower_to_matrix_products_alone_from_the_layer_too():
    layer = nn.Conv(4, 3, method="patches")
    params, state = layer.init(jax.random.key(0), (8, 8, 3))
    loss = lambda params, x: jnp.sum(jnp.sin(layer.apply(params, state, x)[0]))
    text = jax.jit(jax.grad(loss, (0, 1))).lower(params, jnp.ones((2, 8, 8, 3))).as_text()
    assert "stablehlo.convolution" not in text
    assert "stablehlo.dot_general" in text


@pytest.mark.parametrize("f", [layers.conv2d, layers.conv_transpose2d], ids=lambda f: f.__name__)
def test_members_under_vmap_are_no_grouped_convolution(f):
    x, kernel = arrays()
    kernels = jnp.stack([kernel, -kernel])
    gradient = jax.vmap(jax.grad(lambda w, x: jnp.sum(jnp.sin(f(x, w))), (0, 1)), (0, None))
    text = jax.jit(gradient).lower(kernels, x).as_text()
    assert text.count("feature_group_count = 1 ") == text.count("feature_group_count") > 0
    assert text.count("batch_group_count = 1 ") == text.count("batch_group_count")


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="method: got 'fft'"):
        layers.conv2d(*arrays(), method="fft")


def test_of_two_rounds_each_program_counts_with_its_faster_time():
    first, second = (
        [{"method": m, "milliseconds": t} for m, t in zip("ab", times, strict=True)]
        for times in (("9", "2"), ("10", "1"))
    )
    assert conv_methods.faster(first, second) == [first[0], second[1]]  # numbers, because "10" sorts before "9" as text


@pytest.mark.parametrize(
    ("window", "stride", "low", "high"), [(17, 2, 0, 0), (40, 7, 5, 3), (33, 16, 2, 9), (20, 30, 0, 4)]
)
def test_a_long_strided_window_s_input_gradient_is_the_loop(window, stride, low, high):
    axes = axes_of((100,), (window,), stride, ((low, high),), 1)
    random = np.random.default_rng(0)
    delta = random.normal(size=(2, axes[0].outputs, 5)).astype(np.float32)
    kernel = random.normal(size=(window, 3, 5)).astype(np.float32)
    expected = np.zeros((2, 100 + low + high, 3))
    for i in range(axes[0].outputs):
        for p in range(window):
            expected[:, i * stride + p] += delta[:, i] @ kernel[p].T
    found = compute("input_gradient", jnp.asarray(delta), jnp.asarray(kernel), axes, method="patches")
    np.testing.assert_allclose(found, expected[:, low : low + 100], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["conv2d", "depthwise", "conv1d", "transposed", "native"])
def test_gradients_in_jax_shard_map_are_those_of_one_device(form):
    if form == "native" and not native.available():
        pytest.skip(native.status())
    f = {
        "conv2d": layers.conv2d,
        "depthwise": lambda x, w: layers.conv2d(x, w, groups=4),
        "conv1d": lambda x, w: layers.conv1d(x[:, 0], w[0]),
        "transposed": lambda x, w: layers.conv_transpose2d(x, w, stride=2),
        "native": lambda x, w: layers.conv2d(x, w, method="native"),
    }[form]
    x, kernel = arrays(b=4, h=6, c_in=4, c_out=8, k=3)
    kernel = kernel[:, :, :1] if form == "depthwise" else kernel
    loss = lambda x, w: jnp.sum(jnp.sin(f(x, w)))
    mesh = jax.make_mesh((2,), ("i",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    specs = (jax.P("i"), jax.P())
    total = jax.shard_map(lambda *args: jax.lax.psum(loss(*args), "i"), mesh=mesh, in_specs=specs, out_specs=jax.P())
    inside = jax.shard_map(jax.grad(loss, (0, 1)), mesh=mesh, in_specs=specs, out_specs=specs)
    expected = jax.grad(loss, (0, 1))(x, kernel)
    for found in (jax.jit(jax.grad(total, (0, 1)))(x, kernel), jax.jit(inside)(x, kernel)):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_many_members_have_second_derivatives_on_onednn():
    if not native.available():
        pytest.skip(native.status())
    x = jax.random.normal(jax.random.key(0), (1, 6, 6, 2))
    of = lambda w, method: jnp.sum(jnp.sin(layers.conv2d(x, w, method=method)))
    kernel = 0.3 * jax.random.normal(jax.random.key(1), (3, 3, 2, 2))
    assert kernel.size > tuned.UNROLLED
    ours, theirs = (jax.jit(jax.jacfwd(jax.jacrev(functools.partial(of, method=m))))(kernel) for m in ("native", "xla"))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
