"""Strict settings for every test: eight virtual CPU devices, and implicit rank promotion is an error.

Most of a test's time goes into compiling small programs, so the workers share them in pytest's cache folder; a second
run finds those of the first (`pytest --cache-clear` forgets them).

With ``--fast`` (`make test-fast`) the tests marked slow, process or trains are left out, and one member of each
parametrised test runs. A test that starts a process, runs `training.fit` or a sweep without its mark fails.
With ``--onednn`` convolutions of any size run on oneDNN.
"""

import contextlib
import ctypes
import functools
import gc
import inspect
import multiprocessing
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import typing

import beartype
import jax
import jaxtyping
import pytest


def _cheaper(checked):
    """Return jaxtyping's decorator for functions of arrays alone; others get beartype's, or none if not annotated.

    The import hook decorates every function, nested ones anew at each definition: beartype wrote some 18,000 checks of
    nothing for one DenseNet-201, half of the test's time. A table of axes per call is for functions of arrays.
    """

    def jaxtyped(**options):
        decorate = checked(**options)

        def wrap(fn):
            if not inspect.isfunction(fn):
                return decorate(fn)
            if not fn.__annotations__:
                return fn
            return decorate(fn) if any(map(_of_arrays, fn.__annotations__.values())) else _checked(fn)

        return wrap

    return jaxtyped


def _checked(fn):
    """Check a function's arguments unless a test has switched the checks off, as jaxtyping's decorator does."""
    checks = beartype.beartype(fn)

    @functools.wraps(fn)
    def call(*args, **kwargs):
        return (fn if jaxtyping.config.jaxtyping_disable else checks)(*args, **kwargs)

    return call


def _of_arrays(annotation):
    """Return whether an annotation is jaxtyping's or has one inside, as strings may."""
    if isinstance(annotation, str) or type(annotation).__module__.startswith("jaxtyping"):
        return True
    return any(map(_of_arrays, typing.get_args(annotation)))


jaxtyping.jaxtyped = _cheaper(jaxtyping.jaxtyped)  # before jaxdl is imported
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")

LEFT_OUT = ("slow", "process", "trains")
MEMBERS = 1  # of each parametrised test that --fast runs


def pytest_addoption(parser):
    parser.addoption(
        "--fast", action="store_true", help=f"leave out tests marked {', '.join(LEFT_OUT)}, and most members"
    )
    parser.addoption("--onednn", action="store_true", help="choose oneDNN for all products, also for the smallest")


MOST_PROGRAMS = 1 << 30  # bytes on disk, from which the next run begins anew


def pytest_configure(config):
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # begun in the background; a run would ignore it, too
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not config.pluginmanager.hasplugin("cacheprovider"):
        return
    folder = config.cache.mkdir("programs")
    if not hasattr(config, "workerinput") and sum(path.stat().st_size for path in folder.iterdir()) > MOST_PROGRAMS:
        shutil.rmtree(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def pytest_collection_finish(session):
    """Spare the garbage collector what lives until the end: tests, and modules checked by beartype.

    With Python's thresholds its passes over them took a quarter of the laws' time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


@pytest.fixture(autouse=True, scope="session")
def _onednn_for_all(request):
    if not request.config.getoption("--onednn"):
        yield
        return
    from jaxdl.kernels import choice, native

    if not native.available():
        pytest.fail(f"--onednn: {native.status()}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "_native_pays", lambda *arguments: True)
        yield


@pytest.hookimpl(trylast=True)  # after -k and -m, which choose the members
def pytest_collection_modifyitems(config, items):
    if config.getoption("--fast"):
        functions = {}
        for item in items:
            if not any(item.get_closest_marker(mark) for mark in LEFT_OUT):
                functions.setdefault(item.nodeid.partition("[")[0], []).append(item)
        kept = {item for members in functions.values() for item in members[:: -(-len(members) // MEMBERS)]}
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = [item for item in items if item in kept]


MOST_MEMORY = 1 << 30  # bytes of one worker from which programs are freed within a module
GROWTH = 1 << 28  # bytes; a worker whose libraries alone fill MOST_MEMORY would otherwise recompile in every test


@pytest.fixture(autouse=True, scope="module")
def _forget_a_module_s_programs():
    yield
    forget_programs()


@pytest.fixture(scope="session")
def _left():
    """Return one number in a list: the bytes that remained when programs were last freed."""
    return [0]


@pytest.fixture(autouse=True)
def _forget_programs_where_they_fill_the_memory(_left):
    yield
    if resident_memory() > max(MOST_MEMORY, _left[0] + GROWTH):
        forget_programs()
        _left[0] = resident_memory()


def forget_programs():
    """Free all compiled programs. A worker that keeps those of the whole suite grows to several gigabytes."""
    jax.clear_caches()
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def resident_memory():
    """Bytes; 0 where the system does not say."""
    statm = pathlib.Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * resource.getpagesize() if statm.exists() else 0


@pytest.fixture(autouse=True, scope="session")
def _fast_means_fast(request):
    """Patch what every start of a process and every loop of training goes through, however it was imported.

    The scope is the session's, because a fixture of a module is set up before those of a single test.
    """
    if not request.config.getoption("--fast"):
        yield
        return
    with contextlib.suppress(ImportError):
        import torch  # noqa: F401  # which starts a process
    from jaxdl import studies, training  # after jaxtyping's import hook, which checks the shapes

    def refuse(what, mark):
        def refused(*arguments, **options):
            pytest.fail(f"{what}: mark this test with pytest.mark.{mark}")

        return refused

    with pytest.MonkeyPatch.context() as patch:
        starts = refuse("a process is started", "process")
        patch.setattr(subprocess.Popen, "__init__", starts)
        patch.setattr(multiprocessing.process.BaseProcess, "start", starts)
        patch.setattr(os, "fork", starts)
        patch.setattr(studies.sweep.Sweep, "run", refuse("a sweep runs", "trains"))
        # the code, because `from jaxdl.training import fit` holds on to the function, and jaxtyping to what it wraps
        patch.setattr(inspect.unwrap(training.fit), "__code__", _refuse_to_fit.__code__)
        yield


def _refuse_to_fit(*arguments, **options):
    import pytest  # this code runs with the globals of `jaxdl.training.loop`

    pytest.fail("training.fit runs: mark this test with pytest.mark.trains")
