"""Which function a call is of, so that what one call taught holds for the next. Runs no code of anybody's."""

import functools
from collections.abc import Iterable
from contextvars import Context
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

__all__ = ["anchor_of", "key_of", "name_of", "numbered", "target_of"]

# Partials of partials, wrappers of wrappers: deeper than this nobody nests, and a ring would never end.
_DEEPEST = 16


def target_of(fn: Any, args: tuple[Any, ...]) -> Any:
    """
    Return what a call comes down to.

    Looked through: `functools.partial`, ``functools.wraps`` (or all functions with one decorator were one), and
    ``Context.run``, by which asyncio calls everything. Only types of the standard library are asked, since this runs
    under the pool's lock.
    """
    for _ in range(_DEEPEST):
        kind = type(fn)
        if kind is MethodType:
            fn = fn.__func__
        elif kind is functools.partial:
            fn, args = fn.func, (*fn.args, *args)
        elif kind is BuiltinFunctionType and type(fn.__self__) is Context and args:
            fn, args = args[0], args[1:]
        elif kind is FunctionType and (inner := fn.__dict__.get("__wrapped__")) is not None:
            fn = inner
        else:
            break
    return fn


def anchor_of(fn: Any, args: tuple[Any, ...]) -> object:
    """Return what stays the same from call to call: the code of a function or method, else its type or name."""
    target = target_of(fn, args)
    kind = type(target)
    if kind is FunctionType:
        return target.__code__
    return target.__qualname__ if kind is BuiltinFunctionType else kind


def name_of(anchor: object) -> str:
    """Return how a reader would look for it."""
    if isinstance(anchor, CodeType):
        return anchor.co_qualname
    if isinstance(anchor, type):
        return anchor.__qualname__
    return str(anchor)


def key_of(anchor: object) -> object:
    """
    Return what tells functions apart. Code that was loaded anew, for each call maybe, is that of the same function: it
    stands at the same lines and columns.

    Hashing the code itself takes longer, and may run code of its constants.
    """
    if type(anchor) is CodeType:
        return anchor.co_filename, anchor.co_firstlineno, anchor.co_qualname, anchor.co_names, anchor.co_linetable
    return anchor if type(anchor) is str else id(anchor)


def numbered(names: Iterable[str]) -> list[str]:
    """Return the names, the second of one name being "name (2)" and so on: functions in two modules may share one."""
    met: dict[str, int] = {}
    answer = []
    for name in names:
        count = met[name] = met.get(name, 0) + 1
        answer.append(name if count == 1 else f"{name} ({count})")
    return answer
