"""Read PyTorch's checkpoints as arrays by name, without running code that a file contains.

A checkpoint is a dict of tensors, or a dict that holds one beside the epoch, the optimizer and the like. The one of the
model is found if there is exactly one under a name of `WRAPPERS`, or only one dict of tensors at all.
"""

import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jax.numpy as jnp
import numpy as np

from jaxdl import disk
from jaxdl.extras import needed
from jaxdl.interop import pickles

WRAPPERS: Final = ("state_dict", "model_state_dict", "model")
MOST_SHARED: Final = 64  # bytes of all tensors per byte of the file: tensors may share memory, but not without end

FREE: Final = 64 << 20  # bytes that a small file's members may claim
PICKLES: Final = 5  # at the start of a file from before PyTorch 1.6: three numbers and dicts, the tensors, their keys

_EIGHT_BITS = ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu")
# the errors of torch for what is no complete file, and for tensors that have no plain values
_DAMAGE = (RuntimeError, OSError, EOFError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError)
_DAMAGE += (AssertionError, MemoryError, ImportError, struct.error, zipfile.BadZipFile, zlib.error)


def read(path: Path) -> dict[str, np.ndarray]:
    """Read all tensors of a PyTorch file by name; bfloat16 becomes float32.

    Raises:
        ValueError: naming the file, if it is truncated, of another format, holds Python objects other than tensors, has
            no or several dicts of tensors, or a tensor without plain values (sparse, quantized, on the meta device).
        ImportError: if torch is not installed.
    """
    with needed(f"reading {path.name}", None):
        import torch  # pyright: ignore[reportMissingImports]

    tensors = _tensors(path, _load(path), torch.Tensor)
    for name, value in tensors.items():
        _check_plain(path, name, value)
    claimed = sum(_bytes(value) for value in tensors.values())
    if claimed > max(1 << 20, MOST_SHARED * disk.check_regular(path)):
        raise ValueError(f"{path}: its tensors claim {claimed:,} bytes, far more than the file has")
    return {name: _array(path, name, value) for name, value in tensors.items()}


def _load(path: Path) -> Any:
    import pickle

    import torch  # pyright: ignore[reportMissingImports]

    try:
        _check_pickles(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own message suggests loading it anyway
        what = "holds Python objects other than tensors, which are not loaded; save the module's state_dict()"
        raise ValueError(f"{path}: {what}") from error
    except _DAMAGE as error:
        why = " ".join(f"{error}".partition(". ")[0].split()) or type(error).__name__
        raise ValueError(f"{path}: is not a complete PyTorch file ({why})") from error


def _check_pickles(path: Path) -> None:
    """Raise ValueError for an archive of false sizes, and for pickles that are refused; see `pickles`."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            file.seek(0)
            for _ in range(PICKLES):
                pickles.check(file)
            return
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            claimed = sum(member.file_size for member in members)
            if claimed > max(FREE, MOST_SHARED * disk.check_regular(path)):
                raise ValueError(f"its members claim {claimed:,} bytes, far more than the file has")
            for member in members:
                if member.filename.rpartition("/")[2] == "data.pkl":
                    with archive.open(member) as pickled:
                        pickles.check(pickled)


def _tensors(path: Path, loaded: Any, tensor: type) -> dict[str, Any]:
    """Return the dict of the model's tensors in what a file holds."""
    if not isinstance(loaded, Mapping):
        raise ValueError(f"{path}: holds a {type(loaded).__name__}; expected a dict of tensors by name")

    def holds_tensors(value: Any) -> bool:
        pairs = value.items() if isinstance(value, Mapping) else ()
        return bool(pairs) and all(isinstance(k, str) and isinstance(one, tensor) for k, one in pairs)

    if holds_tensors(loaded):
        return dict(loaded)
    inside = [key for key, value in loaded.items() if holds_tensors(value)]
    chosen = [key for key in inside if key in WRAPPERS] or inside
    if len(chosen) == 1:
        return dict(loaded[chosen[0]])
    if chosen:
        listed = ", ".join(map(repr, chosen))
        raise ValueError(f"{path}: holds several dicts of tensors, {listed}; save one of them as a file of its own")
    other = next((key for key, value in loaded.items() if not isinstance(value, tensor)), None)
    if other is None:
        what = "is empty" if not loaded else f"names a tensor by {next(k for k in loaded if not isinstance(k, str))!r}"
    else:
        what = f"holds a {type(loaded[other]).__name__} under {other!r}"
    raise ValueError(
        f"{path}: {what}; expected a dict of tensors by name, or one under {' or '.join(map(repr, WRAPPERS))}"
    )


def _bytes(tensor: Any) -> int:
    return tensor.numel() * tensor.element_size()


def _kind(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _check_plain(path: Path, name: str, tensor: Any) -> None:
    """Raise ValueError for a tensor whose values do not lie in memory one by one."""
    import torch  # pyright: ignore[reportMissingImports]

    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        form = _kind(tensor) if tensor.layout is torch.strided else str(tensor.layout).removeprefix("torch.")
        where = "" if tensor.device.type == "cpu" else f" on the device {tensor.device}"
        raise ValueError(f"{path}: {name} is {form}{where}; expected a dense tensor with its values")


def _array(path: Path, name: str, tensor: Any) -> np.ndarray:
    """Return a tensor as an array, without its gradient."""
    import torch  # pyright: ignore[reportMissingImports]

    kind = _kind(tensor)
    try:
        plain = tensor.detach().resolve_conj().resolve_neg()
        if kind in _EIGHT_BITS:
            return plain.contiguous().view(torch.uint8).numpy().view(np.dtype(getattr(jnp, kind)))
        return (plain.float() if plain.dtype is torch.bfloat16 else plain).numpy()
    except _DAMAGE as error:
        why = " ".join(f"{error}".split()) or type(error).__name__
        raise ValueError(f"{path}: {name} is {kind}, which has no counterpart as an array ({why})") from error
