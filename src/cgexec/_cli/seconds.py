"""A time on the command line: what argparse makes of it, and what it says of anything else."""

import argparse
import math
from collections.abc import Callable

__all__ = ["seconds"]


def seconds(least: float = 0, most: float = math.inf) -> Callable[[str], float]:
    """Return the type of an option that takes seconds: finite, above 0, and from *least* to *most*."""
    within = "seconds above 0, such as 30" if most == math.inf else f"from {least:g} to {most:g} seconds"

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (least <= value <= most and 0 < value < math.inf):
            raise argparse.ArgumentTypeError(f"expected {within}, got {text!r}")
        return value

    return parse
