"""Protection against code named in a run folder from someone else.

A ``package.module:function`` in a config is imported and called, and it can name any function on the machine. A name
that was read from a folder is therefore followed without asking only if it is a public function of jaxdl or its
experiments. Any other name needs consent: ``trust_run=True`` in Python, ``--trust-run`` on the command line.
"""

import functools
import importlib
import pathlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

OWN = ("jaxdl", "experiments")  # packages whose public functions need no consent
PATHS = ("dataset", "source", "different")  # options that `names.dataset` reads, where a path wins over a function


def check_stored(
    path: pathlib.Path, stored: Mapping[str, Any], *, trust_run: bool, typed: Collection[str] = ()
) -> None:
    """Raise ValueError, before anything is imported, if stored options name functions of other packages.

    Args:
        path: the file that holds the options, for the message.
        stored: the value of each option; strings, also in lists, may name functions.
        trust_run: accept all of them.
        typed: names that the user typed as well; these are accepted.
    """
    named = [(name, text) for name, value in stored.items() for text in texts(value) if text not in typed]
    # a data set's path may have a colon, and is then never called
    foreign = [f"{n}={text!r}" for n, text in named if is_foreign(text) and not (n in PATHS and is_path(text))]
    if foreign and not trust_run:
        raise ValueError(
            f"{path}: names code from outside of jaxdl, which would be imported and called: {', '.join(foreign)}; if "
            "you trust this run folder, add --trust-run (in Python, trust_run=True)"
        )


def is_foreign(text: str) -> bool:
    """Return whether an option names a function of a package that is not in `OWN`."""
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
    # a module of ours also exposes its imports, such as another package's functions
    return str(getattr(function, "__module__", "")).partition(".")[0] not in OWN


def is_path(text: str) -> bool:
    """Return whether a path of this name exists."""
    try:
        return pathlib.Path(text).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, a null character, an unknown user
        return False


def texts(value: Any) -> Iterable[str]:
    """Return the strings in an option's value, which may be a list."""
    values = value if isinstance(value, list | tuple) else [value]
    return [one for one in values if isinstance(one, str)]
