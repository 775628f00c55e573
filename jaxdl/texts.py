"""Names and messages as one can show them: no character of theirs controls the terminal or the order of the text."""

import os
import shlex
import unicodedata
from typing import Any, Final

JOINERS: Final = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"  # of Persian words, Indic letters and emoji
HIDDEN: Final = {"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"}  # categories of Unicode that have no shape


def printable(text: str, *, keep: str = "") -> str:
    r"""Escape the characters without a shape, as in ``\x1b``: those that colour a terminal or turn text around.

    Args:
        text: any text.
        keep: characters to leave as they are, such as a newline.
    """
    if text.isprintable():
        return text
    return "".join(c if c in keep or c in JOINERS else _escaped(c) for c in text)


def shortened(value: Any, length: int = 200) -> str:
    """Return a value in Python's notation, cut to a length."""
    return cut(repr(value), length)


def quoted(path: str | os.PathLike) -> str:
    """Return a path as it is typed in a shell, for a command to copy."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)  # which would be read as an option


def cut(text: str, length: int = 2000) -> str:
    """Return a text, cut to a length: a stranger's file may hold names of megabytes."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in HIDDEN:
        return character
    return character.encode("unicode_escape").decode()
