"""Blocks of variables to paste into a container, and where they go. Pure."""

import re
import textwrap
from collections.abc import Collection, Sequence

__all__ = ["placed", "processes_block", "requests_block"]

_NAME = re.compile(r"^  - name: (\S+)$", re.MULTILINE)


def processes_block(count: int) -> str:
    """Return what tells the number of processes."""
    return f'env:\n  - name: CGEXEC_PROCESSES\n    value: "{count}"'


def requests_block(missing: Sequence[str]) -> str:
    """Return what tells the requests by the downward API; *missing* has ``"cpu"``, ``"memory"``, or both."""
    lines = ["env:"]
    if "cpu" in missing:
        lines += [
            "  - name: REQUEST_MILLI",
            "    valueFrom:",
            "      resourceFieldRef: {resource: requests.cpu, divisor: 1m}",
            "  - name: CGEXEC_CPU_REQUEST",
            '    value: "$(REQUEST_MILLI)m"',
        ]
    if "memory" in missing:
        lines += [
            "  - name: CGEXEC_MEMORY_REQUEST",
            "    valueFrom:",
            "      resourceFieldRef: {resource: requests.memory}",
        ]
    return "\n".join(lines)


def placed(block: str, env: Collection[str] | None) -> tuple[str, str]:
    """
    Return where a block goes, and as much of it as goes there: a second ``env:`` would be a key that stands twice.

    Args:
        block: from one of the functions above.
        env: the names in the container's ``env``; None if it has none.
    """
    if env is None:
        return "paste into the container:", block
    entries = textwrap.dedent(block.partition("\n")[2])
    there = [name for name in _NAME.findall(block) if name in env]
    if there:
        return f"in the container's env, instead of {', '.join(there)}:", entries
    return "add to the container's env:", entries
