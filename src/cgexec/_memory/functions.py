"""Which function a call is of, so that what one call taught holds for the next. Runs no code of anybody's."""

import functools
from contextvars import Context
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any

__all__ = ["anchor_of", "name_of"]

# Partials of partials, wrappers of wrappers: deeper than this nobody nests, and a ring would never end.
_DEEPEST = 16


def anchor_of(fn: Any, args: tuple[Any, ...]) -> object:
    """
    Return what stays the same from call to call: the code of a function or method, else its type or name.

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
        elif kind is BuiltinFunctionType:
            if type(fn.__self__) is Context and args:
                fn, args = args[0], args[1:]
            else:
                return fn.__qualname__
        elif kind is FunctionType:
            inner = fn.__dict__.get("__wrapped__")
            if inner is None:
                return fn.__code__
            fn = inner
        else:
            return kind
    return type(fn)


def name_of(anchor: object) -> str:
    """Return how a reader would look for it."""
    if isinstance(anchor, CodeType):
        return anchor.co_qualname
    if isinstance(anchor, type):
        return anchor.__qualname__
    return str(anchor)
