"""oneDNN's products equal XLA's, are chosen where they pay, and fail with a clear message where they cannot run."""

import concurrent.futures
import ctypes
import os
import subprocess
import sys
import textwrap
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxdl import compat, layers, models
from jaxdl.kernels import axes_of, choose, compute, native
from jaxdl.kernels.native import calls, descriptors, loader, products

needs_onednn = pytest.mark.skipif(not native.available(), reason=native.status())
PRODUCTS = ("forward", "input_gradient", "kernel_gradient")
RANDOM = np.random.default_rng(0)
LARGE = (16, 28, 28, 16), (3, 3, 16, 16)  # 29 million products


def normal(*shape, dtype=jnp.float32):
    return jnp.asarray(RANDOM.normal(size=shape), dtype)


def random_case(seed):
    """Return the arrays of a random convolution along one or two axes, by product, with its axes and groups."""
    random = np.random.default_rng(seed)
    rank, groups = int(random.integers(1, 3)), int(random.choice([1, 1, 2, 4]))
    c_in, c_out = (groups * int(random.integers(1, 5)) for _ in range(2))
    if seed % 4 == 0:  # depthwise
        groups, c_out = c_in, c_in * int(random.integers(1, 3))
    ints = lambda low, high: tuple(map(int, random.integers(low, high, rank)))
    lengths, window, stride, dilation = ints(5, 12), ints(1, 4), ints(1, 4), ints(1, 3)
    axes = axes_of(lengths, window, stride, tuple(zip(ints(0, 3), ints(0, 3), strict=True)), dilation)
    batch = int(random.integers(1, 4))
    x, kernel = normal(batch, *lengths, c_in), normal(*window, c_in // groups, c_out)
    cotangent = normal(batch, *(axis.outputs for axis in axes), c_out)
    return dict(zip(PRODUCTS, ((x, kernel), (cotangent, kernel), (x, cotangent)), strict=True)), axes, groups


def assert_close(found, expected, tolerance=3e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * abs(b).max()), found, expected)


def conv(x, kernel, **options):
    return layers.conv2d(x, kernel, padding="SAME", **options)


def calls_onednn(f, *arrays, **options):
    return calls.TARGET in jax.jit(f, **options).lower(*arrays).as_text()


@needs_onednn
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("seed", range(12))
def test_the_products_are_xla_s(seed, dtype):
    arrays, axes, groups = random_case(seed)
    for product, pair in arrays.items():
        rounded = [array.astype(dtype) for array in pair]
        found = compute(product, *rounded, axes, groups, method="native")
        wide = [array.astype(jnp.float32) for array in rounded]
        expected = np.asarray(compute(product, *wide, axes, groups, method="xla"))
        assert found.dtype == dtype
        # bfloat16 is summed in float32 and rounded once, by up to 2^-8
        assert_close(np.asarray(found, np.float32), expected, 3e-6 if dtype == "float32" else 4e-3)


@needs_onednn
@pytest.mark.parametrize("groups", [1, 16])
def test_derivatives_of_every_mode_are_xla_s(groups):
    x, kernel = normal(2, 9, 9, 16), normal(3, 3, 16 // groups, 16)

    def loss(method, x, kernel):
        return jnp.sum(jnp.tanh(conv(x, kernel, groups=groups, method=method)) ** 2)

    def along(method):
        f = partial(loss, method)
        gradient = lambda x: jax.grad(f)(x, kernel)
        tangent = (jnp.cos(x),)
        _, pushed = jax.linearize(gradient, x)
        return {
            "gradients": jax.grad(f, (0, 1))(x, kernel),
            "jvp": jax.jvp(lambda x: f(x, kernel), (x,), tangent)[1],
            "forward over reverse": jax.jvp(gradient, (x,), tangent)[1],
            "reverse over reverse": jax.grad(lambda x: jnp.vdot(gradient(x), tangent[0]))(x),
            "linearized": pushed(tangent[0]),
            "remat": jax.grad(jax.checkpoint(f), 1)(x, kernel),
        }

    assert_close(jax.jit(along, static_argnums=0)("native"), jax.jit(along, static_argnums=0)("xla"), 5e-5)


@needs_onednn
def test_mapped_scanned_and_donated_it_is_the_same():
    x, kernels = normal(4, 2, 8, 8, 4), normal(4, 3, 3, 4, 4)
    by = lambda method: partial(conv, method=method)
    for axes in ((0, None), (None, 0), (0, 0)):
        pair = (x if axes[0] == 0 else x[0], kernels if axes[1] == 0 else kernels[0])
        assert_close(jax.jit(jax.vmap(by("native"), axes))(*pair), jax.jit(jax.vmap(by("xla"), axes))(*pair))

    def scanned(method, x):
        return jax.lax.scan(lambda carried, kernel: (by(method)(carried, kernel), None), x, kernels)[0]

    assert_close(jax.jit(partial(scanned, "native"))(x[0]), jax.jit(partial(scanned, "xla"))(x[0]))
    expected = by("xla")(x[0], kernels[0])
    donated = jax.jit(by("native"), donate_argnums=0)(jnp.copy(x[0]), kernels[0])
    assert_close(donated, expected)


@needs_onednn
def test_it_is_chosen_for_large_float32_products_alone():
    x, kernel = normal(*LARGE[0]), normal(*LARGE[1])
    assert calls_onednn(conv, x, kernel)
    assert not calls_onednn(partial(conv, method="xla"), x, kernel)
    assert not calls_onednn(conv, x[:1, :4, :4], kernel)
    assert not calls_onednn(conv, x.astype(jnp.float16), kernel.astype(jnp.float16))
    axes = axes_of((28, 28), (3, 3), 1, "SAME", 1)
    assert choose("forward", *LARGE, axes) != "native" == choose("forward", *LARGE, axes, native=True)


@needs_onednn
def test_the_demo_s_net_keeps_its_forms_and_so_its_bits():
    net = models.tiny_cnn()
    params, state = net.init(jax.random.key(0), (8, 8, 1))
    loss = lambda params, x: net.apply(params, state, x, train=True, key=jax.random.key(1))[0].sum()
    assert not calls_onednn(jax.grad(loss), params, jnp.zeros((32, 8, 8, 1)))


@needs_onednn
def test_where_xla_partitions_the_program_or_exports_it_the_other_forms_serve():
    x, kernel = normal(*LARGE[0]), normal(*LARGE[1])
    mesh = compat.data_mesh(jax.devices()[:2], "data")
    split = NamedSharding(mesh, PartitionSpec("data"))
    whole = NamedSharding(mesh, PartitionSpec())
    assert not calls_onednn(conv, x, kernel, in_shardings=(split, whole))
    by_hand = compat.shard_map(conv, mesh=mesh, in_specs=(PartitionSpec("data"), PartitionSpec()), out_specs=split.spec)
    assert calls_onednn(by_hand, x, kernel)
    assert_close(jax.jit(by_hand)(x, kernel), conv(x, kernel, method="xla"))
    exported = jax.export.export(jax.jit(conv))(x, kernel)
    assert calls.TARGET not in exported.mlir_module()
    assert_close(exported.call(x, kernel), conv(x, kernel, method="xla"))


@needs_onednn
def test_eight_devices_and_many_threads_run_at_once():
    x, kernel = normal(8, 4, 16, 16, 16), normal(3, 3, 16, 16)
    by = partial(conv, method="native")
    expected = np.asarray(jax.jit(by)(x.reshape(-1, 16, 16, 16), kernel).reshape(8, 4, 16, 16, 16))
    np.testing.assert_array_equal(jax.pmap(by, in_axes=(0, None))(x, kernel), expected)
    jitted = jax.jit(by)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda i: np.asarray(jitted(x[i % 8], kernel)), range(64)):
            assert found.shape == expected.shape[1:]
        many = list(pool.map(lambda i: np.asarray(jitted(x[i % 8], kernel)), range(64)))
    for i, found in enumerate(many):
        np.testing.assert_array_equal(found, expected[i % 8])


@needs_onednn
def test_the_same_bits_each_time_and_nothing_that_is_not_finite_is_lost():
    x, kernel = normal(8, 12, 12, 8), normal(3, 3, 8, 8)
    gradient = jax.jit(jax.grad(lambda kernel, x: jnp.sum(conv(x, kernel, method="native") ** 2)))
    first = np.asarray(gradient(kernel, x))
    for _ in range(5):
        np.testing.assert_array_equal(gradient(kernel, x), first)
    for value in (np.nan, np.inf):
        odd = x.at[0, 5, 5, 3].set(value)
        found, expected = (np.asarray(conv(odd, kernel, method=method)) for method in ("native", "xla"))
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))


@needs_onednn
def test_an_empty_batch_gives_zeros():
    x, kernel = jnp.zeros((0, 5, 5, 2)), jnp.ones((3, 3, 2, 4))
    assert conv(x, kernel, method="native").shape == (0, 5, 5, 4)
    gradient = jax.grad(lambda kernel: jnp.sum(conv(x, kernel, method="native")))(kernel)
    np.testing.assert_array_equal(gradient, np.zeros((3, 3, 2, 4)))


@needs_onednn
@pytest.mark.parametrize("stride", [1, 2])
def test_an_output_padding_that_onednn_refuses_is_left_to_the_other_forms(stride):
    x, kernel = normal(2, 64, 32), normal(3, 32, 1024)  # 12 million products
    options = {"stride": stride, "dilation": 5, "padding": "VALID"}
    transposed = lambda x, kernel, more: layers.conv_transpose1d(x, kernel, output_padding=more, **options)
    shorter = transposed(x, kernel, 0)
    pad = lambda y: jnp.pad(y, ((0, 0), (0, 4), (0, 0)))  # appended entries are no sum of anything
    assert_close(transposed(x, kernel, 4), pad(shorter))
    loss = lambda f: lambda x, kernel: jnp.sum(jnp.sin(f(x, kernel)))
    gradients = (jax.grad(loss(partial(transposed, more=more)), (0, 1))(x, kernel) for more in (4, 0))
    assert_close(*gradients)


@needs_onednn
def test_windows_that_onednn_refuses_are_named():
    (axis,) = axes_of((11,), (3,), 1, "VALID", 1)
    with pytest.raises(ValueError, match=r'method="native": got windows that end too early'):
        compute("forward", normal(1, 11, 2), normal(3, 2, 2), (axis._replace(high=-1),), method="native")


@needs_onednn
def test_products_are_kept_within_a_bound(monkeypatch):
    monkeypatch.setattr(products, "_MOST_PRODUCTS", 3)
    for length in range(5, 13):
        x = normal(1, length, length, 2)
        assert_close(conv(x, jnp.ones((3, 3, 2, 2)), method="native"), conv(x, jnp.ones((3, 3, 2, 2)), method="xla"))
        assert len(products._kept) <= 3
    monkeypatch.setattr(products, "_MOST_BYTES", 1)
    conv(normal(1, 20, 20, 2), jnp.ones((3, 3, 2, 2)), method="native")
    assert len(products._kept) == 1


# ---------------------------------------------------------------- mistakes


@needs_onednn
def test_an_unsupported_dtype_is_named():
    x, kernel = normal(1, 5, 5, 1), normal(3, 3, 1, 1)
    with pytest.raises(ValueError, match=r'method="native": got arrays of float16, allowed are float32 and bfloat16'):
        conv(x.astype(jnp.float16), kernel.astype(jnp.float16), method="native")


@needs_onednn
@pytest.mark.parametrize(
    ("numbers", "said"),
    [([9] * 12, "describe no product"), ([0, 0, 1, 1, 1, 1, 5, 3, 1, 1, -9, 0], "oneDNN answers: invalid arguments")],
)
def test_an_error_in_the_handler_is_an_error_of_xla_with_its_text(numbers, said):
    def forged(x, kernel):
        call = jax.ffi.ffi_call(calls.TARGET, jax.ShapeDtypeStruct((1, 3, 1), jnp.float32))
        return call(x, kernel, descriptor=np.asarray(numbers, np.int64))

    with pytest.raises(jax.errors.JaxRuntimeError, match=said):
        jax.block_until_ready(jax.jit(forged)(normal(1, 5, 1), normal(3, 1, 1)))


def test_descriptors_come_back_from_their_numbers():
    for seed in range(4):
        arrays, axes, groups = random_case(seed)
        for product, (a, b) in arrays.items():
            descriptor = descriptors.describe(product, a.shape, b.shape, "float32", axes, groups)
            assert descriptors.from_numbers(descriptor.numbers()) == descriptor


def run(code, **environment):
    """Run code in a process of its own and return its output."""
    program = "import jax, jax.numpy as jnp\nfrom jaxdl import layers\nfrom jaxdl.kernels import native\n"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program + textwrap.dedent(code)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ELSEWHERE = """
    x, kernel = jnp.ones((16, 28, 28, 16)), jnp.ones((3, 3, 16, 16))
    print(native.available(), native.status())
    print(jax.jit(lambda: layers.conv2d(x, kernel, padding="SAME").sum())())
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("off", "not in use: JAXDL_ONEDNN=off turns oneDNN off"),
        ("/nowhere/libdnnl.so.3", "not in use: /nowhere/libdnnl.so.3 cannot be loaded"),
        (next(iter({"libc.so.6"})), "not in use: libc.so.6 is no oneDNN: it has no dnnl_version"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="oneDNN is looked for on Linux")
def test_without_the_library_everything_works_and_the_reason_is_said(named, said):
    about, total = run(ELSEWHERE, JAXDL_ONEDNN=named).splitlines()
    assert about.startswith(f"False {said}")
    assert float(total) == 16 * 16 * 16 * (9 * 26 * 26 + 4 * 6 * 26 + 4 * 4)


def test_an_old_version_is_refused_by_its_number(monkeypatch):
    class Old:
        def __init__(self, *arguments, **options):
            self.dnnl_version = lambda: ctypes.pointer(loader.OneDNNVersion(2, 6, 0))

    monkeypatch.setattr(loader.c, "CDLL", Old)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader.os, "environ", {})
        found = loader._load("libdnnl.so.2")
    assert found == loader.Found(None, "libdnnl.so.2 is oneDNN 2.6.0; needed is 3.1 or a later 3.x")


@pytest.mark.process
@needs_onednn
def test_the_environment_is_left_as_it_was():
    code = "import os\nbefore = dict(os.environ)\nnative.status()\nprint(dict(os.environ) == before)"
    assert run(code) == "True"


@pytest.mark.process
@needs_onednn
@pytest.mark.parametrize("threads", ["1", "2"])
def test_few_channels_under_strided_1x1_windows_write_nowhere_else(threads):
    # oneDNN's own way wrote behind its buffer, which ended the process or gave wrong sums
    code = """
        import numpy as np
        from jaxdl.kernels import axes_of, compute
        random = np.random.default_rng(0)
        for rank, length in ((1, 1 << 18), (2, 512)):
            x = random.normal(size=(2, *(length,) * rank, 1)).astype(np.float32)
            axes = axes_of((length,) * rank, 1, 2, "VALID")
            cotangent = random.normal(size=(2, *(length // 2,) * rank, 4)).astype(np.float32)
            for _ in range(2):
                found = compute("kernel_gradient", jnp.asarray(x), jnp.asarray(cotangent), axes, method="native")
            read = x[:, ::2] if rank == 1 else x[:, ::2, ::2]
            expected = read.reshape(1, -1).astype(float) @ cotangent.reshape(-1, 4)
            print(np.abs(found.reshape(1, 4) - expected).max() < 1e-4 * np.abs(expected).max())
    """
    assert run(code, OMP_NUM_THREADS=threads).split() == ["True", "True"]


@needs_onednn
@pytest.mark.parametrize(("c_in", "groups"), [(20, 1), (16, 2)])
def test_dilated_kernel_gradients_of_bfloat16_sum_nothing_else(c_in, groups):
    axes = axes_of((12, 40), 3, 1, "VALID", (2, 1))
    pair = normal(2, 12, 40, c_in, dtype="bfloat16"), normal(2, 8, 38, 16, dtype="bfloat16")
    expected = compute("kernel_gradient", *(a.astype("float32") for a in pair), axes, groups, method="xla")
    for _ in range(3):  # what a buffer holds differs from call to call
        found = compute("kernel_gradient", *pair, axes, groups, method="native")
        assert_close(np.asarray(found, np.float32), np.asarray(expected), 4e-3)


@needs_onednn
@pytest.mark.parametrize("c_in", [1, 3, 15, 16])
@pytest.mark.parametrize(("stride", "padding"), [((2, 2), "VALID"), ((3, 1), "VALID"), ((2, 2), ((0, 2), (0, 0)))])
def test_strided_1x1_windows_give_the_gradient_of_their_kernel(stride, padding, c_in):
    axes = axes_of((6, 6), 1, stride, padding)
    pair = normal(2, 6, 6, c_in), normal(2, *(axis.outputs for axis in axes), 4)
    found, expected = (compute("kernel_gradient", *pair, axes, method=method) for method in ("native", "xla"))
    assert_close(np.asarray(found), np.asarray(expected))


@pytest.mark.process
@needs_onednn
@pytest.mark.parametrize("kept", ["y = f(x)", "f(x)"])
def test_the_interpreter_leaves_with_a_step_in_flight(kept):
    code = f"""
        kernel = jnp.ones((3, 3, 16, 16)) / 144
        f = jax.jit(lambda x: jax.lax.fori_loop(
            0, 200, lambda i, x: layers.conv2d(x, kernel, padding="SAME", method="native"), x))
        x = jnp.ones((16, 28, 28, 16))
        f(x).block_until_ready()
        {kept}
        print("left")
    """
    assert run(code) == "left"


@pytest.mark.process
@needs_onednn
@pytest.mark.parametrize(
    ("raising", "said"),
    [
        ("KeyboardInterrupt('mine')", "KeyboardInterrupt"),
        ("OSError('mine')", "mine"),
        ("type('Mine', (Exception,), {})('own')", "own"),  # a class that no list of classes has
    ],
)
def test_what_a_signal_raises_in_the_handler_is_not_lost(raising, said):
    # a small product in a loop runs on the main thread, where Python handles signals
    code = f"""
        import signal
        def handle(*_):
            raise {raising}
        signal.signal(signal.SIGALRM, handle)
        kernel = jnp.ones((3, 3, 8, 8)) / 72
        f = jax.jit(lambda x: jax.lax.fori_loop(
            0, 5000, lambda i, x: layers.conv2d(x, kernel, padding="SAME", method="native"), x))
        x = jnp.ones((2, 8, 8, 8))
        expected = f(x)
        for _ in range(3):
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            try:
                f(x).block_until_ready()
            except BaseException as error:  # the handler of the signal runs in XLA's call, or after it
                print({said!r} in repr(error))
        assert (f(x) == expected).all()
    """
    assert run(code).split() == ["True"] * 3


@pytest.mark.process
@needs_onednn
def test_a_forked_process_is_told_so():
    code = """
        import os
        f = jax.jit(lambda x: layers.conv2d(x, jnp.ones((3, 3, 8, 8)), method="native"))
        x = jnp.ones((2, 8, 8, 8))
        f(x).block_until_ready()
        if (child := os.fork()) == 0:
            try:
                f(x).block_until_ready()
            except (ValueError, jax.errors.JaxRuntimeError) as error:  # at dispatch or later
                print("start processes with the method 'spawn'" in str(error), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print(float(f(x)[0, 4, 4, 0]))
    """
    assert run(code).split() == ["True", "72.0"]


@pytest.mark.slow
@pytest.mark.process
@needs_onednn
def test_a_program_from_the_compilation_cache_means_the_same_in_another_process(tmp_path):
    code = """
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
        for window in WINDOWS:
            x, kernel = jnp.ones((1, 8, 8, 2)), jnp.ones((window, window, 2, 3))
            print(window, float(jax.jit(lambda: layers.conv2d(x, kernel, method="native"))()[0, 4, 4, 0]))
    """
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
    first = run(code.replace("WINDOWS", "(1, 2, 3)"), **cache)
    assert first.split() == ["1", "2.0", "2", "8.0", "3", "18.0"]
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert run(code.replace("WINDOWS", "(3, 2, 1)"), **cache).split() == ["3", "18.0", "2", "8.0", "1", "2.0"]
    assert {path.name for path in tmp_path.rglob("*-cache")} <= files  # nothing was compiled anew


class Ended:
    """An array whose computation has failed or not; it counts how often it was waited for."""

    def __init__(self, error=None, deleted=False):
        self.error, self.deleted, self.waited = error, deleted, 0

    def is_deleted(self):
        return self.deleted

    def block_until_ready(self):
        self.waited += 1
        if self.error is not None:
            raise self.error


def test_a_step_that_failed_does_not_keep_the_end_from_waiting_for_the_others(monkeypatch):
    failed = [Ended(jax.errors.JaxRuntimeError("INTERNAL: mine")), Ended(ValueError("INVALID_ARGUMENT: donated"))]
    deleted, other = Ended(deleted=True), Ended()
    monkeypatch.setattr(jax, "live_arrays", lambda: [*failed, deleted, other])
    monkeypatch.setattr(calls._State, "leaving", False)
    monkeypatch.setattr(calls._State, "last_call", -1e9)
    calls._finish()
    assert [one.waited for one in (*failed, deleted, other)] == [1, 1, 0, 1]
    assert calls._State.leaving
