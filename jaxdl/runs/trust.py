"""Functions that a run folder names: a stored ``package.module:function`` is code that a reader may not want to run.

A name in a config is imported and called, and any function of the machine can be named. So a name that was read from a
folder is followed where it means a public function of this library or its experiments, and otherwise only where the
reader says so: ``trust_run=True`` in Python, ``--trust-run`` on the command line.
"""

import functools
import importlib
import pathlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

OWN = ("jaxdl", "experiments")  # packages whose public functions are followed without being asked


def check_stored(
    path: pathlib.Path, stored: Mapping[str, Any], *, trust_run: bool, typed: Collection[str] = ()
) -> None:
    """Raise ValueError, before anything is imported, where stored options name functions from elsewhere.

    Args:
        path: the file that they were read from.
        stored: option → its value; strings, also in lists, may name functions.
        trust_run: whether to let them pass.
        typed: names that the reader gave, too, which pass.
    """
    named = [(name, text) for name, value in stored.items() for text in texts(value) if text not in typed]
    foreign = [f"{name}={text!r}" for name, text in named if is_foreign(text)]
    if foreign and not trust_run:
        raise ValueError(
            f"{path}: names code from outside of jaxdl, which would be imported and called: {', '.join(foreign)}; if "
            "you trust this run folder, add --trust-run (in Python, trust_run=True)"
        )


def is_foreign(text: str) -> bool:
    """Whether an option is a ``package.module:function``, with or without keywords, of other packages than `OWN`."""
    name = text.partition("(")[0]
    module, colon, attribute = name.partition(":")
    if not colon:
        return False
    if module.strip().partition(".")[0] not in OWN or attribute.startswith("_"):
        return True
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError):
        return True
    function = found.func if isinstance(found, functools.partial) else found
    # a module of ours also holds what it imports, such as another package's functions
    return str(getattr(function, "__module__", "")).partition(".")[0] not in OWN


def texts(value: Any) -> Iterable[str]:
    """The strings of an option's value, which may be a list."""
    values = value if isinstance(value, list | tuple) else [value]
    return [one for one in values if isinstance(one, str)]
