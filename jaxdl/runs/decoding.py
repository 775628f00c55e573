"""Values of JSON as the types that a record's annotations declare, checked; see `jaxdl.runs.records`."""

import math
import os
import sys
import types
import typing
from collections.abc import Sequence
from typing import Any, Final, Literal

from jaxdl.texts import shortened


def fields_of(kind: type) -> dict[str, Any]:
    """Return the annotations of a record's fields, in order."""
    return {name: typing.get_type_hints(kind)[name] for name in kind._fields}  # pyright: ignore


def defaults_of(kind: type) -> dict[str, Any]:
    """Return the defaults of those of a record's fields that have one."""
    return kind._field_defaults  # pyright: ignore


NAMES: Final = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def decode(value: Any, kind: Any, path: str | os.PathLike, name: str) -> Any:
    """Check a value from JSON and return it as a ``kind``.

    Args:
        value: any value that `json.loads` returns.
        kind: the annotation of a field, or a record.
        path: the file, for the message.
        name: of the field, for the message; "" stands for the whole object.

    Raises:
        ValueError: if the value is of another type; the message names the file and the field.
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):  # T | None
        return None if value is None else _decoded_union(value, inner, path, name)
    if kind is Any or (kind is float and value is None):
        return math.nan if kind is float else value
    if origin is Literal:
        return _checked(value, value in inner, " or ".join(map(repr, inner)), path, name)
    if kind in NAMES:
        right = isinstance(value, int | float if kind is float else kind) and (kind is bool) == isinstance(value, bool)
        if right and isinstance(value, int):
            right = abs(value) <= sys.float_info.max if kind is float else abs(value) < 1 << 63
        return _checked(value, right, NAMES[kind], path, name)
    if hasattr(kind, "_fields"):
        return _decoded_record(value, kind, path, name)
    if (origin or kind) is dict:
        _checked(value, isinstance(value, dict), "an object", path, name)
        return {key: decode(one, inner[1] if inner else Any, path, f"{name}.{key}") for key, one in value.items()}
    return _decoded_list(value, origin or kind, inner, path, name)


def _decoded_union(value: Any, kinds: Sequence[Any], path: str | os.PathLike, name: str) -> Any:
    *others, last = (kind for kind in kinds if kind is not types.NoneType)
    for kind in others:
        try:
            return decode(value, kind, path, name)
        except ValueError:
            continue
    return decode(value, last, path, name)


def _decoded_record(value: Any, kind: Any, path: str | os.PathLike, name: str) -> Any:
    _checked(value, isinstance(value, dict), "an object", path, name)
    found = {}
    for field, hint in fields_of(kind).items():
        full = f"{name}.{field}" if name else field
        if field in value:
            found[field] = decode(value[field], hint, path, full)
        elif field not in defaults_of(kind):
            raise ValueError(f"{path}: {full} is missing")
    return kind(**found)


def _decoded_list(value: Any, kind: type, inner: tuple, path: str | os.PathLike, name: str) -> Any:
    fixed = kind is tuple and inner and inner[-1] is not Ellipsis
    right = isinstance(value, list) and (not fixed or len(value) == len(inner))
    _checked(value, right, f"a list of {len(inner)}" if fixed else "a list", path, name)
    hints = inner if fixed else [inner[0] if inner else Any] * len(value)
    pairs = enumerate(zip(value, hints, strict=True))
    return kind(decode(one, hint, path, f"{name}[{i}]") for i, (one, hint) in pairs)


def _checked(value: Any, right: bool, wanted: str, path: str | os.PathLike, name: str) -> Any:
    if not right:
        raise ValueError(f"{path}: {name or 'it'} must be {wanted}, got {shortened(value)}")
    return value
