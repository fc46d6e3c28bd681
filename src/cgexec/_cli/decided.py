"""What the environment decides about the size of pools, whatever is recommended. Pure."""

from collections.abc import Iterator, Mapping

from cgexec._environ import told_size

__all__ = ["decided"]


def decided(environ: Mapping[str, str]) -> Iterator[str]:
    """
    Yield a sentence if a variable has the last word on a pool's number of workers.

    Raises:
        ValueError: ``CGEXEC_MODE`` or one of the two numbers holds nonsense, as every pool would.
    """
    workers, source = told_size(environ)
    if workers is None and source:
        yield f"{source} decides: a pool without a number has the standard pool's size"
    elif source == "CGEXEC_FORCE_MAX_WORKERS":
        yield f"{source}={workers} decides: every pool has that, whatever the program says"
    elif source:
        yield f"{source}={workers} decides: a pool without a number has that"
