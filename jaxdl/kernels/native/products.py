"""oneDNN's convolution and its two gradients: prepared once for each descriptor, and run on raw buffers.

`prepared` keeps the products that were used last. One product serves many threads at once: a call borrows a workspace
(objects that point at its buffers, the weights in oneDNN's own order, the scratchpad), and where all are lent a new one
is made.
"""

import collections
import ctypes as c
import functools
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxdl.kernels.native import loader
from jaxdl.kernels.native.descriptors import Descriptor
from jaxdl.kernels.native.structures import Dims, ExecutionArgument, Pointer

_MOST_PRODUCTS, _MOST_BYTES = 512, 1 << 30  # that are kept; a step of ResNet-50 has 159 products

# of dnnl_types.h
_CPU, _IN_ORDER = 1, 1
_TRAINING, _DIRECT = 64, 1
_ANY = 1  # the order that oneDNN likes best
_USER = 1  # scratchpads are the caller's: the library's own serves one thread
_ALLOCATE = Pointer(-1)
_DTYPES = {"float32": 3, "bfloat16": 2}
_STATUS = ("success", "out of memory", "invalid arguments", "unimplemented", "last implementation reached")
_STATUS += ("runtime error", "not required", "invalid graph", "invalid graph operation", "invalid shape")
# an array's part in a product, and the query for the order in which oneDNN wants it
_SRC, _DST, _WEIGHTS, _SCRATCHPAD, _DIFF_SRC, _DIFF_DST, _DIFF_WEIGHTS = 1, 17, 33, 80, 129, 145, 161
_QUERY = {_SRC: 129, _DIFF_SRC: 130, _WEIGHTS: 131, _DIFF_WEIGHTS: 132, _DST: 133, _DIFF_DST: 134, _SCRATCHPAD: 136}
_PARTS = {
    "forward": (_SRC, _WEIGHTS, _DST),
    "input_gradient": (_DIFF_DST, _WEIGHTS, _DIFF_SRC),
    "kernel_gradient": (_SRC, _DIFF_DST, _DIFF_WEIGHTS),
}


class _Api(NamedTuple):
    """oneDNN in this process."""

    library: loader.Library
    engine: Pointer

    def call(self, name: str, *arguments) -> None:
        """Call a function that is over in microseconds, and raise RuntimeError where it fails."""
        _check(getattr(self.library.quick, f"dnnl_{name}")(*arguments))

    def new(self, name: str, *arguments) -> Pointer:
        """Return what the function makes."""
        made = Pointer()
        self.call(name, c.byref(made), *arguments)
        return made


class _Workspace(NamedTuple):
    """What one call at a time uses."""

    stream: Pointer
    arrays: list[Pointer]  # memory objects of the operands and the result
    others: list[Pointer]
    steps: list[tuple[Pointer, int, c.Array]]  # primitives with the number of their arguments and these


class Product:
    """One product, prepared.

    Raises:
        RuntimeError: where oneDNN cannot make it.
    """

    def __init__(self, descriptor: Descriptor):
        self._free: list[_Workspace] = []
        self._made: list[tuple[str, Pointer]] = []  # kind and object, to be destroyed in reverse order
        self._api = _api()
        self._parts = _PARTS[descriptor.product]
        self._outer, chosen = self._describe(descriptor)
        self._primitive = self._keep("primitive", "primitive_create", chosen)
        query = lambda part: self._api.library.quick.dnnl_primitive_desc_query_md(chosen, _QUERY[part], 0)
        self._inner = {part: Pointer(query(part)) for part in (*self._parts, _SCRATCHPAD)}
        self._reorders = {part: self._reorder(part) for part in self._parts if not self._same(part)}
        size = self._api.library.quick.dnnl_memory_desc_get_size
        self.workspace_bytes = sum(size(self._inner[part]) for part in (_SCRATCHPAD, *self._reorders))

    def run(self, pointers: Sequence[int]) -> None:
        """Multiply arrays at these addresses: the two operands and the result."""
        try:
            workspace = self._free.pop()
        except IndexError:
            workspace = self._workspace()
        execute = self._api.library.calls.dnnl_primitive_execute  # releases Python's lock
        for array, pointer in zip(workspace.arrays, pointers, strict=True):
            self._api.call("memory_set_data_handle", array, pointer)
        for primitive, count, arguments in workspace.steps:
            _check(execute(primitive, workspace.stream, count, arguments))
        self._api.call("stream_wait", workspace.stream)
        self._free.append(workspace)  # after an error, which leaves it in an unknown state, it is not lent again

    def __del__(self):
        if not self._made:
            return
        destroy = self._api.library.quick
        for workspace in self._free:
            for memory in (*workspace.arrays, *workspace.others):
                destroy.dnnl_memory_destroy(memory)
            destroy.dnnl_stream_destroy(workspace.stream)
        for name, pointer in reversed(self._made):
            getattr(destroy, f"dnnl_{name}_destroy")(pointer)

    @property
    def kept_bytes(self) -> int:
        """Memory that its workspaces hold."""
        return self.workspace_bytes * max(1, len(self._free))

    def _describe(self, descriptor: Descriptor) -> tuple[dict[int, Pointer], Pointer]:
        """Return how the arrays lie in memory, and the description of the product with the weights as oneDNN likes."""
        dtype, engine = _DTYPES[descriptor.dtype], self._api.engine

        def strided(layout):
            shape, strides = layout
            arguments = (len(shape), Dims(*shape), dtype, Dims(*strides))
            return self._keep("memory_desc", "memory_desc_create_with_strides", *arguments)

        x, kernel, y = strided(descriptor.x), strided(descriptor.kernel), strided(descriptor.y)
        shape = descriptor.kernel.shape
        free = self._keep("memory_desc", "memory_desc_create_with_tag", len(shape), Dims(*shape), dtype, _ANY)
        fields = zip(*((a.stride, a.dilation - 1, a.low, a.high) for a in descriptor.axes), strict=True)
        geometry = [Dims(*values) for values in fields]
        attributes = self._keep("primitive_attr", "primitive_attr_create")
        self._api.call("primitive_attr_set_scratchpad_mode", attributes, _USER)

        def product(kind, *arguments):
            name = f"convolution_{kind}_primitive_desc_create"
            return self._keep("primitive_desc", name, engine, *arguments)

        outer = dict(zip(self._parts, (x, kernel, y), strict=True))
        forward = product("forward", _TRAINING, _DIRECT, x, free, None, y, *geometry, attributes)
        if descriptor.product == "forward":
            return outer, forward
        if descriptor.product == "input_gradient":
            outer = {_DIFF_DST: y, _WEIGHTS: kernel, _DIFF_SRC: x}
            return outer, product("backward_data", _DIRECT, x, free, y, *geometry, forward, attributes)
        outer = {_SRC: x, _DIFF_DST: y, _DIFF_WEIGHTS: kernel}
        return outer, product("backward_weights", _DIRECT, x, free, None, y, *geometry, forward, attributes)

    def _same(self, part: int) -> bool:
        return bool(self._api.library.quick.dnnl_memory_desc_equal(self._outer[part], self._inner[part]))

    def _reorder(self, part: int) -> Pointer:
        pair = self._outer[part], self._inner[part]
        source, target = pair[::-1] if part == self._parts[-1] else pair
        engine = self._api.engine
        made = self._keep("primitive_desc", "reorder_primitive_desc_create", source, engine, target, engine, None)
        return self._keep("primitive", "primitive_create", made)

    def _workspace(self) -> _Workspace:
        memory = lambda layout, handle: self._api.new("memory_create", layout, self._api.engine, handle)
        stream = self._api.new("stream_create", self._api.engine, _IN_ORDER)
        outer = {part: memory(self._outer[part], None) for part in self._parts}
        inner = {part: memory(self._inner[part], _ALLOCATE) for part in (_SCRATCHPAD, *self._reorders)}
        result = self._parts[-1]
        before = [part for part in self._reorders if part != result]
        steps = [_step(self._reorders[part], {_SRC: outer[part], _DST: inner[part]}) for part in before]
        steps.append(_step(self._primitive, {**outer, **inner}))
        if result in inner:
            steps.append(_step(self._reorders[result], {_SRC: inner[result], _DST: outer[result]}))
        return _Workspace(stream, [outer[part] for part in self._parts], list(inner.values()), steps)

    def _keep(self, kind: str, name: str, *arguments) -> Pointer:
        made = self._api.new(name, *arguments)
        self._made.append((kind, made))
        return made


def _step(primitive: Pointer, arguments: dict[int, Pointer]) -> tuple[Pointer, int, c.Array]:
    return primitive, len(arguments), (ExecutionArgument * len(arguments))(*arguments.items())


def _check(status: int) -> None:
    if status:
        said = _STATUS[status] if 0 < status < len(_STATUS) else "an unknown status"
        raise RuntimeError(f"oneDNN answers: {said} ({status})")


@functools.cache
def _api() -> _Api:
    library = loader.find().library
    if library is None:
        raise RuntimeError(loader.find().reason)
    library.quick.dnnl_primitive_desc_query_md.restype = Pointer
    library.quick.dnnl_memory_desc_get_size.restype = c.c_size_t
    library.quick.dnnl_memory_set_data_handle.argtypes = [Pointer, Pointer]
    engine = Pointer()
    _check(library.quick.dnnl_engine_create(c.byref(engine), _CPU, c.c_size_t(0)))
    return _Api(library, engine)


_kept: collections.OrderedDict[bytes, Product] = collections.OrderedDict()
_lock = threading.Lock()


def prepared(key: bytes, descriptor: Callable[[], Descriptor]) -> Product:
    """Return a descriptor's product, kept from before or made now.

    Args:
        key: the descriptor's numbers as they came, so that finding a product costs one look-up.
        descriptor: called for the descriptor where there is no product yet.
    """
    with _lock:
        if (product := _kept.get(key)) is not None:
            _kept.move_to_end(key)
            return product
    product = Product(descriptor())
    with _lock:
        product = _kept.setdefault(key, product)  # another thread may have been faster
        while len(_kept) > 1 and _too_much():
            _kept.popitem(last=False)  # its memory is freed after its last call
        return product


def _too_much() -> bool:
    return len(_kept) > _MOST_PRODUCTS or sum(product.kept_bytes for product in _kept.values()) > _MOST_BYTES
