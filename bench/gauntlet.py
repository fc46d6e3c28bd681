"""
Which fixed pool sizes survive a memory limit, and what ours makes of it: killed or not, throughput beside the best
fixed size that is never killed, peak. Every run is a new process in a new cgroup made by the laboratory's ``v1``.

Run ``CGEXEC_LAB=... python bench/gauntlet.py --workloads same,mixed --pools ours,stock``; prints a Markdown table.
The contenders take turns, so that a busy machine slows all. A fixed size that was killed once is not run again, nor is
one that takes more than half longer than the best.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gauntlet_table
import gauntlet_workloads
import into_docs
from gauntlet_child import Job

STOCK = [f"stock-{n}" for n in (1, 2, 4, 8, 16, 32)]
OURS = ["ours", "ours-default", "ours-estimate", "fuse"]
HUGE = "-huge"  # with GLIBC_TUNABLES=glibc.malloc.hugetlb=1
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


def parse_size(text: str) -> int:
    """Return the bytes of "256M", as the laboratory reads it."""
    unit = UNITS.get(text[-1:].upper())
    return int(text) if unit is None else int(float(text[:-1]) * unit)


def parse_pools(text: str) -> list[str]:
    """Return the contenders named; "stock" is all fixed sizes."""
    pools: list[str] = []
    for name in text.split(","):
        number = name.removeprefix("stock-")
        ours = {*OURS, *(one + HUGE for one in OURS)}
        if name not in {"stock", "all", *ours} and not (name != number and number.isdigit()):
            raise argparse.ArgumentTypeError(f"no such pool: {name}")
        pools += {"stock": STOCK, "all": [*STOCK, *OURS]}.get(name, [name])
    return list(dict.fromkeys(pools))


def parse_workloads(text: str) -> list[str]:
    """Return the workloads named."""
    names = list(gauntlet_workloads.NAMED) if text == "all" else text.split(",")
    for name in names:
        if name not in gauntlet_workloads.NAMED:
            raise argparse.ArgumentTypeError(f"no such workload: {name} (of {', '.join(gauntlet_workloads.NAMED)})")
    return names


def arguments() -> argparse.Namespace:
    """Return what was told."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", type=lambda text: [parse_size(one) for one in text.split(",")], default="256M")
    parser.add_argument("--workloads", type=parse_workloads, default="all")
    parser.add_argument(
        "--pools",
        type=parse_pools,
        default="stock,ours,ours-default",
        help="also stock-N, and ours-huge, fuse-huge: with huge pages",
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="so many times the tasks, or their length")
    parser.add_argument("--cpus", type=float, help="a CPU quota")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--all-sizes", action="store_true", help="run slow fixed sizes as often as the others")
    parser.add_argument("--json", type=Path, help="a file for every run; what is there already counts, too")
    parser.add_argument("--markdown", type=Path, help="a file for the table")
    into_docs.add_option(parser)
    return parser.parse_args()


class Harness:
    """Starts the runs and keeps what came of them."""

    def __init__(self, lab: Path, told: argparse.Namespace) -> None:
        self.lab, self.told = lab, told
        self.records: list[dict[str, Any]] = []

    def contest(self, name: str, memory: int) -> None:
        """Run all contenders in turn; each round begins with another."""
        with folder_of_files(name, memory) as folder:
            for turn in range(self.told.runs):
                pools = self.told.pools[turn:] + self.told.pools[:turn] if turn < len(self.told.pools) else []
                for pool in pools or self.told.pools:
                    if self.is_wanted(name, memory, pool):
                        self.run(name, memory, pool, turn, folder)
            while best := gauntlet_table.best_fixed(
                self.of(name, memory)
            ):  # it may have been too slow until others fell
                if best.runs >= self.told.runs:
                    break
                self.run(name, memory, best.pool, best.runs, folder)

    def of(self, name: str, memory: int) -> list[dict[str, Any]]:
        """Return the runs of a workload under a limit."""
        return [run for run in self.records if (run["workload"], run["memory"]) == (name, memory)]

    def is_wanted(self, name: str, memory: int, pool: str) -> bool:
        """Tell whether another run of a fixed size can change the table."""
        runs = self.of(name, memory)
        mine = [run for run in runs if run["pool"] == pool]
        if not mine or not gauntlet_table.is_stock(pool):
            return True
        if any(run["outcome"] != "ok" for run in mine):
            return False
        best = gauntlet_table.best_fixed(runs)
        middle = statistics.median(gauntlet_table.seconds(mine))
        return self.told.all_sizes or best is None or middle <= 1.5 * best.seconds

    def run(self, name: str, memory: int, pool: str, turn: int, folder: str) -> None:
        """Run once; keep the record and say so."""
        work = gauntlet_workloads.NAMED[name]
        timeout = max(120.0, 2.5 * work.serial(self.told.scale) * work.slower(memory))
        job = Job(name, pool, memory, self.told.seed + turn, self.told.scale, timeout, folder)
        if folder:
            gauntlet_workloads.prepare_files(folder, memory)
        with fresh_cgroup() as cgroup:
            record = asdict(job) | started(self.command(job, cgroup), environment(pool, told=work.told), timeout + 20)
        del record["folder"], record["part"]
        self.records.append(record)
        about = f"{record['seconds']:.2f} s" if record["outcome"] == "ok" else complaint(record)
        size = gauntlet_table.size_of(memory)
        print(f"{name} {size} {pool} #{turn + 1}: {record['outcome']} {about}", file=sys.stderr, flush=True)

    def command(self, job: Job, cgroup: str) -> list[str]:
        """Return the laboratory's command line."""
        cpus = [] if self.told.cpus is None else ["--cpus", f"{self.told.cpus:g}"]
        child = Path(__file__).with_name("gauntlet_child.py")
        told = json.dumps(asdict(job))
        limits = ["--name", cgroup, "--memory", str(job.memory), *cpus]
        return [str(self.lab / "v1"), *limits, "--", sys.executable, str(child), told]


@contextmanager
def fresh_cgroup() -> Iterator[str]:
    """Give the name of a cgroup, and see to it that the cgroup is gone: a process stuck in the kernel dies slowly."""
    name = f"cgxlab-gauntlet-{os.getpid()}-{time.monotonic_ns()}"
    try:
        yield name
    finally:
        for left in Path("/sys/fs/cgroup").glob(f"*/{name}"):
            for _ in range(100):
                try:
                    left.rmdir()
                except FileNotFoundError:
                    break
                except OSError:  # EBUSY
                    time.sleep(0.1)


@contextmanager
def folder_of_files(name: str, memory: int) -> Iterator[str]:
    """Give the workload that reads files its files."""
    if gauntlet_workloads.NAMED[name].task is not gauntlet_workloads.files:
        yield ""
        return
    folder = tempfile.mkdtemp(prefix="gauntlet-")
    try:
        gauntlet_workloads.prepare_files(folder, memory)
        yield folder
    finally:
        shutil.rmtree(folder)


def environment(pool: str, *, told: bool) -> dict[str, str]:
    """
    Return the environment without our own variables, but for the number of processes where that is told; and with huge
    pages for what glibc allocates where the contender's name says so.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CGEXEC_")}
    huge = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"} if pool.endswith(HUGE) else {}
    return clean | huge | ({"CGEXEC_PROCESSES": "4"} if told else {})


def started(command: list[str], environ: dict[str, str], timeout: float) -> dict[str, Any]:
    """Run a command and return what became of it."""
    begin = time.monotonic()
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)  # the laboratory ends what is in its cgroup
            out, err = process.communicate(timeout=120)
            err += "\nTimeout (the child did not end itself)"
        except BaseException:
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise
    seen: dict[str, Any] = {"status": process.returncode, "wall": time.monotonic() - begin, "stderr": err}
    if process.returncode == 0:
        seen |= json.loads(out)
    return seen | {"outcome": outcome(seen)}


def complaint(record: dict[str, Any]) -> str:
    """Return what a run that went wrong said."""
    return f"{record.get('error') or ''} {record['stderr'].strip()[-800:]}".strip()


def outcome(seen: dict[str, Any]) -> str:
    """Return one word for how a run ended."""
    if "Timeout (" in seen["stderr"]:
        return "hung"
    if seen["status"] == 137 or seen.get("oom_kills"):
        return "killed"
    if seen["status"] or any(seen.get("statuses", [])):
        return "lab failed" if seen["status"] == 125 else "failed"
    if seen["wrong"]:
        return "wrong"
    return "not lowered" if seen.get("lowered_after", 0) is None else "ok"


def main() -> int:
    """Run, print and write."""
    told = arguments()
    if not os.environ.get("CGEXEC_LAB"):
        print(
            "CGEXEC_LAB is not set: it names the folder of the laboratory, whose v1 makes the cgroups", file=sys.stderr
        )
        return 2
    harness = Harness(Path(os.environ["CGEXEC_LAB"]), told)
    if told.json and told.json.exists():
        harness.records = json.loads(told.json.read_text())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # tidies up
    try:
        for memory in told.memory:
            for name in told.workloads:
                harness.contest(name, memory)
    finally:
        text = gauntlet_table.table(harness.records)
        print(text)
        if told.json:
            told.json.write_text(json.dumps(harness.records, indent=1) + "\n")
        if told.markdown:
            told.markdown.write_text(text + "\n")
        if told.docs:
            into_docs.put(told.docs, "gauntlet", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
