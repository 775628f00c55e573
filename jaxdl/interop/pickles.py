"""Look through a pickle before PyTorch's own unpickler reads it, which bounds neither memory nor time.

That unpickler calls few functions, but one is bytearray, which makes any number of bytes of a number; and a tuple that
holds another one twice, which does the same, and so on, has a hash and a text of 2^depth steps. No file of weights has
either.
"""

import pickletools
from collections.abc import Iterator
from typing import Any, Final

MOST_BYTES: Final = 64 << 20  # of a pickle; one of 10,000 tensors has 2 million
MOST_STEPS: Final = 4_000_000  # of a pickle; a tensor has 40
MOST_ITEMS: Final = 100_000  # of a tuple with all tuples in it
_TUPLES: Final = ("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")
_REFUSED: Final = ("bytearray",)


def check(file: Any) -> None:
    """Read one pickle up to its end, without loading anything.

    Args:
        file: an open file of bytes, or a member of an archive.

    Raises:
        ValueError: if it calls bytearray, has a tuple of more than `MOST_ITEMS` or is longer than `MOST_BYTES` or
            `MOST_STEPS`; or if it is damaged.
    """
    start, stack, memo = file.tell(), [], {}
    for number, (opcode, argument, position) in enumerate(_opcodes(file)):
        if (position or 0) - start > MOST_BYTES or number >= MOST_STEPS:
            raise ValueError(f"a pickle of more than {MOST_BYTES:,} bytes or {MOST_STEPS:,} steps")
        if opcode.name in ("GLOBAL", "INST") and str(argument).rpartition(" ")[2] in _REFUSED:
            raise ValueError("a call of bytearray")
        _step(opcode, argument, stack, memo)


def _opcodes(file: Any) -> Iterator[tuple[Any, Any, int | None]]:
    try:
        yield from pickletools.genops(file)
    except (ValueError, LookupError, OverflowError, MemoryError) as error:
        raise ValueError(f"a damaged pickle ({error})") from error


def _step(opcode: Any, argument: Any, stack: list[int | None], memo: dict[Any, int]) -> None:
    """Follow the number of items of each value on the stack, in which None is a mark."""
    if "PUT" in opcode.name or opcode.name == "MEMOIZE":
        memo[len(memo) if opcode.name == "MEMOIZE" else argument] = _top(stack)
        return
    before, after = opcode.stack_before, opcode.stack_after
    if pickletools.markobject in before:
        if None not in stack:
            raise ValueError("a damaged pickle (no mark)")
        mark = len(stack) - 1 - stack[::-1].index(None)
        taken, others = stack[mark + 1 :], before.index(pickletools.markobject)
        del stack[max(0, mark - others) :]
    else:
        taken = stack[max(0, len(stack) - len(before)) :]
        del stack[max(0, len(stack) - len(before)) :]
    if opcode.name in _TUPLES:
        items = 1 + sum(one or 0 for one in taken)
        if items > MOST_ITEMS:
            raise ValueError(f"a tuple of more than {MOST_ITEMS:,} items")
        stack.append(items)
    elif "GET" in opcode.name:
        stack.append(memo.get(argument, 1))
    elif opcode.name == "DUP":
        stack += [taken[0] if taken else 1] * 2
    else:
        stack += [None if one is pickletools.markobject else 1 for one in after]


def _top(stack: list[int | None]) -> int:
    return (stack[-1] if stack else None) or 1
