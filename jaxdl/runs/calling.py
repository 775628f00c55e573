"""A name on the command line, with its keywords, and the function that it stands for.

A name is ``NAME``, ``library.NAME`` or ``package.module:function``, optionally with keyword arguments:
``"jaxdl.adam(eps=1e-3)"``, ``optax.contrib.prodigy``, ``"mine:net(width=8)"``. Their values are Python literals, read
by `ast.literal_eval`; no expression is evaluated.

A ``package.module:function`` in a config is imported and called, and it can name any function on the machine. A name
that was read from a folder is therefore followed without asking only if it is a public function of jaxdl or its
experiments. Any other name needs consent: ``trust_run=True`` in Python, ``--trust-run`` on the command line.
"""

import ast
import difflib
import functools
import importlib
import inspect
import pathlib
import pkgutil
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

from jaxdl import counterparts

BRIDGED: Final = ("keras", "torch")  # which the extra `bridges` installs
OWN: Final = ("jaxdl", "experiments")  # packages whose public functions need no consent
PATHS: Final = (
    "dataset",
    "source",
    "different",
)  # options that `names.dataset` reads, where a path wins over a function

_LARGEST = 2**31 - 1  # a compiled function takes Python's whole numbers as int32


class Named(NamedTuple):
    """A parsed name. As text it has canonical spacing."""

    name: str
    keywords: dict[str, Any]

    @property
    def short(self) -> str:
        """Return the name without its library or module."""
        return self.name.rpartition(":")[2].rpartition(".")[2]

    def __str__(self) -> str:
        inside = ", ".join(f"{key}={value!r}" for key, value in self.keywords.items())
        return f"{self.name}({inside})" if self.keywords else self.name


def parse(argument: str, text: str) -> Named:
    """Parse ``NAME`` or ``NAME(keyword=value, ...)``.

    Args:
        argument: the option, for error messages.
        text: its value.

    Raises:
        ValueError: if the brackets hold anything but keywords with literal values.
    """
    name, bracket, rest = text.strip().partition("(")
    if not bracket:
        return Named(name, {})
    try:
        call = ast.parse(f"f({rest}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):  # f()() is two calls
            raise ValueError("there must be one pair of brackets")
        if call.args or any(k.arg is None for k in call.keywords):
            raise ValueError("only keywords are allowed between the brackets")
        keywords = {str(keyword.arg): _literal(keyword.value) for keyword in call.keywords}
        if len(keywords) < len(call.keywords):
            raise ValueError("a keyword is there twice")
    except (SyntaxError, ValueError) as error:
        why = error.msg if isinstance(error, SyntaxError) else error
        raise ValueError(f"{argument}={text!r}: {why}; the form is NAME or NAME(keyword=value, ...)") from error
    return Named(name.strip(), keywords)


def _literal(value: ast.expr) -> Any:
    try:
        found = ast.literal_eval(value)
    except ValueError as error:
        raise ValueError(f"{ast.unparse(value)} is not a literal such as 1e-3, True or 'text'") from error
    for one in ast.walk(value):
        if isinstance(one, ast.Constant) and isinstance(one.value, int) and one.value > _LARGEST:
            raise ValueError(f"{one.value:.3g} is more than whole numbers of 32 bits hold; write it as a float")
    return found


def function(
    argument: str, text: str, known: Mapping[str, Callable[..., Any]], *, set_later: Collection[str] = ()
) -> Callable[..., Any]:
    """Return the function that a name stands for, with its keywords bound.

    Args:
        argument: the option, for error messages.
        text: its value.
        known: functions by their names, for names without a module.
        set_later: keywords that the caller sets and the name must not.

    Raises:
        ValueError: for an unknown name (the message has the nearest one and a list of all), for a malformed one (see
            `parse`), and for keywords that the function does not take.
    """
    named = parse(argument, text)
    if ":" in named.name:
        found = _imported(argument, named.name)
    elif named.name in known:
        found = known[named.name]
    else:
        raise ValueError(unknown(argument, text, named.name, known))
    if not named.keywords:
        return found
    parameters = inspect.signature(found).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    wrong = sorted(({*named.keywords} - {*parameters}) if not takes_all else ()) + sorted(
        {*named.keywords} & {*set_later}
    )
    if wrong:
        allowed = ", ".join(name for name in parameters if name not in set_later)
        raise ValueError(f"{argument}={text!r}: {wrong[0]} is no keyword to set here; allowed are {allowed}")
    return functools.partial(found, **named.keywords)


def called(argument: str, text: str, *args: Any, known: Mapping[str, Callable[..., Any]] | None = None) -> Any:
    """Call the function that a name stands for and return its result.

    Raises:
        ValueError: see `function`; also if the function does not take the arguments.
    """
    found = function(argument, text, known or {})
    try:
        inspect.signature(found).bind(*args)
    except TypeError as error:
        given = f"with {args[0]}, the number of classes" if args else "without arguments"
        raise ValueError(f"{argument}={text!r} is called {given}, but: {error}") from error
    return found(*args)


def _imported(argument: str, name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    try:
        if not module or not attribute:
            raise ValueError("one of the two is missing")
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{argument}={name!r}: {error}; {_hint(module.partition('.')[0], error)}") from error
    if not callable(found):
        raise ValueError(f"{argument}={name!r} is a {type(found).__name__}, not a function")
    return found


def _hint(package: str, error: Exception) -> str:
    if package in BRIDGED and isinstance(error, ModuleNotFoundError) and error.name == package:
        return "install it with `pip install 'jaxdl[bridges]'`"
    keras = package == "keras" or getattr(error, "name", None) == "tensorflow"  # Keras' backend unless one is chosen
    return "set KERAS_BACKEND=jax" if keras else "the form is package.module:function"


def unknown(argument: str, text: str, name: str, known: Iterable[str]) -> str:
    """Return the message for a name that is none of the known ones, with the nearest of them."""
    known = sorted(known)
    module, _, word = name.rpartition(".")
    beside = [one for one in known if one.rpartition(".")[0] == module] or known
    meant = (counterparts.counterpart(word, beside) or "").removeprefix("losses.")  # by its name in another library
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    said = f"it is {meant!r} here; " if meant in known else f"the nearest is {near[0]!r}; " if near else ""
    return f"{argument}={text!r} is unknown; {said}there are: {', '.join(known)}"


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
    target = found.func if isinstance(found, functools.partial) else found
    # a module of ours also exposes its imports, such as another package's functions
    return str(getattr(target, "__module__", "")).partition(".")[0] not in OWN


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
