"""Optional packages: each is imported by the function that needs it, and a missing one names the command."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["MissingExtra", "extra"]


class MissingExtra(ImportError):
    """An optional package is not installed; the text says which, and how to install it."""


@contextmanager
def extra(name: str, who: str, package: str) -> Iterator[None]:
    """
    Stand around the import of an optional package.

    Raises:
        MissingExtra: it is not installed. *who* needs *package*, which comes with the extra *name*.
    """
    try:
        yield
    except ImportError as error:
        raise MissingExtra(f'{who} needs {package}: pip install "cgexec[{name}]"') from error
