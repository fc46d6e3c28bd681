"""
cgexec: fill the container without being killed for it.

`limits` reads what the kernel really enforces, `usage` what is used now, and `recommend` says how many workers that
makes, and why. `ThreadPoolExecutor` is the standard library's pool with a bounded queue and that size. Importing this
package reads no file, starts no thread, logs nothing and loads no optional package.

Not libcgroup's command of the same name, which runs a program in a cgroup.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cgexec._adaptive.profile import Profile
    from cgexec._errors import QueueFull
    from cgexec._executor import ThreadPoolExecutor
    from cgexec._leftovers import Leftovers
    from cgexec._limits import Limits, limits
    from cgexec._memory.fuse import unfused
    from cgexec._pool.here import cancel, checkpoint
    from cgexec._pool.look import Stats
    from cgexec._pool.served import serve_stats
    from cgexec._pool.task import TaskCancelled
    from cgexec._quantity import format_bytes, parse_quantity
    from cgexec._recommend import Recommendation, recommend
    from cgexec._usage import Usage, usage
    from cgexec._wrap import BoundedExecutor, wrap

__all__ = [
    "BoundedExecutor",
    "Leftovers",
    "Limits",
    "Profile",
    "QueueFull",
    "Recommendation",
    "Stats",
    "TaskCancelled",
    "ThreadPoolExecutor",
    "Usage",
    "cancel",
    "checkpoint",
    "format_bytes",
    "limits",
    "parse_quantity",
    "recommend",
    "serve_stats",
    "unfused",
    "usage",
    "wrap",
]

__version__ = "0.1.0"

# Loaded when first asked for, as concurrent.futures does with its pools: whoever imports the package for one name
# should not pay for the others (PEP 562).
_HOMES = {
    "BoundedExecutor": "cgexec._wrap",
    "Leftovers": "cgexec._leftovers",
    "Limits": "cgexec._limits",
    "Profile": "cgexec._adaptive.profile",
    "QueueFull": "cgexec._errors",
    "Recommendation": "cgexec._recommend",
    "Stats": "cgexec._pool.look",
    "TaskCancelled": "cgexec._pool.task",
    "ThreadPoolExecutor": "cgexec._executor",
    "Usage": "cgexec._usage",
    "cancel": "cgexec._pool.here",
    "checkpoint": "cgexec._pool.here",
    "format_bytes": "cgexec._quantity",
    "limits": "cgexec._limits",
    "parse_quantity": "cgexec._quantity",
    "recommend": "cgexec._recommend",
    "serve_stats": "cgexec._pool.served",
    "unfused": "cgexec._memory.fuse",
    "usage": "cgexec._usage",
    "wrap": "cgexec._wrap",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    value.__module__ = "cgexec"  # reprs, tracebacks and pickles show the name that users can import
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
