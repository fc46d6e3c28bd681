"""
Who finds the limits: real cgroups of several layouts, and what each tool says in them.

Run ``CGEXEC_LAB=... python bench/detection.py`` (``pip install "cgexec[bench]"`` for the peers); prints a Markdown
table. Each layout is a cgroup made by the laboratory's ``v1``; each tool is asked in a fresh process in it. Right is
what the kernel enforces, within a hundredth; half a CPU rounded up is right, too, as some tools have whole ones only. A
tool that does not tell CPUs or memory gets a dash.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import into_docs

GIB = 1 << 30


class Layout(NamedTuple):
    """What is set, how the laboratory is told, and the truth; None is no limit, and then the host's is right."""

    name: str
    told: list[str]
    cpus: float | None
    memory: int | None


LAYOUTS = (
    Layout("no limit", [], None, None),
    Layout("half a CPU", ["--cpus", "0.5"], 0.5, None),
    Layout("1 GiB", ["--memory", "1G"], None, GIB),
    Layout("both", ["--cpus", "1", "--memory", "1G"], 1, GIB),
    Layout("both, in a namespace", ["--cpus", "1", "--memory", "1G", "--view", "ns"], 1, GIB),
)


def _cgexec() -> tuple[float | None, float | None]:
    import cgexec

    limits = cgexec.limits()
    return limits.cpus, limits.memory_bytes


def _proclimits() -> tuple[float | None, float | None]:
    proclimits = import_module("proclimits")
    budget = proclimits.get_memory_budget()  # None, as the CPU limit, is no limit
    memory = proclimits.get_machine_memory_bytes() if budget is None else budget.limit
    return proclimits.get_cpu_limit() or proclimits.get_machine_cpu_count(), memory


def _loky() -> tuple[float | None, float | None]:
    return import_module("loky").cpu_count(), None


def _psutil() -> tuple[float | None, float | None]:
    import psutil

    return psutil.cpu_count(), psutil.virtual_memory().total


def _dask() -> tuple[float | None, float | None]:
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    return CPU_COUNT, MEMORY_LIMIT


def _os() -> tuple[float | None, float | None]:
    return os.cpu_count(), None


def _stock() -> tuple[float | None, float | None]:
    return len(os.sched_getaffinity(0)), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


TOOLS: dict[str, Callable[[], tuple[float | None, float | None]]] = {
    "cgexec": _cgexec,
    "proclimits": _proclimits,
    "loky": _loky,
    "psutil": _psutil,
    "dask, distributed": _dask,
    "os.cpu_count": _os,
    "affinity, sysconf": _stock,
}


def ask(layout: Layout, tool: str, lab: Path) -> tuple[float | None, float | None] | str:
    """Return what the tool says there, or why it does not."""
    command = [str(lab / "v1"), *layout.told, "--", sys.executable, __file__, "--ask", tool]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CGEXEC_")}
    done = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    cpus, memory = json.loads(done.stdout)
    return cpus, memory


def shown(value: float | None, truth: float, *, whole: bool) -> str:
    """Return an answer with its mark."""
    if value is None:
        return "-"
    right = math.isclose(value, truth, rel_tol=0.01) or (whole and value == max(1, math.ceil(truth)))
    text = f"{value:g}" if whole else f"{value / GIB:.2f} GiB"
    return f"{text} {'right' if right else '**wrong**'}"


def table(lab: Path) -> str:
    """Return the table as Markdown."""
    host = os.cpu_count() or 1, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    lines = ["| limits | " + " | ".join(TOOLS) + " |", "|---" * (len(TOOLS) + 1) + "|"]
    missing: dict[str, str] = {}
    for layout in LAYOUTS:
        cells = []
        for tool in TOOLS:
            found = missing.get(tool) or ask(layout, tool, lab)
            if isinstance(found, str):
                missing[tool] = found
                cells.append("not there")
                continue
            cpus = shown(found[0], host[0] if layout.cpus is None else layout.cpus, whole=True)
            memory = shown(found[1], host[1] if layout.memory is None else layout.memory, whole=False)
            cells.append(f"{cpus}; {memory}")
        lines.append(f"| {layout.name} | " + " | ".join(cells) + " |")
    lines += ["", "CPUs; memory.", *(f"{tool}: {why}" for tool, why in missing.items())]
    return "\n".join(lines)


def main() -> int:
    """Ask and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ask", choices=TOOLS, help=argparse.SUPPRESS)
    into_docs.add_option(parser)
    told = parser.parse_args()
    if told.ask:
        print(json.dumps(TOOLS[told.ask]()))
        return 0
    if not os.environ.get("CGEXEC_LAB"):
        print("CGEXEC_LAB is not set: it names the folder of the laboratory, whose v1 makes cgroups", file=sys.stderr)
        return 2
    text = table(Path(os.environ["CGEXEC_LAB"]))
    into_docs.show([text], "detection", told.docs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
