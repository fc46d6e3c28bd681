"""
The best fixed size, found by trying all, beside ours with nothing configured: throughput, and how often the quota ran
out. Every run is a new process in a new cgroup made by the laboratory's ``v1``.

Run ``CGEXEC_LAB=... python bench/oracle.py --cpus 0.5,1,2 --runs 3``; prints a Markdown table. The contenders take
turns, so that a busy machine slows all.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import into_docs
import oracle_table
from oracle_child import WORKLOADS

STOCK = [f"stock-{n}" for n in (1, 2, 4, 8, 16, 32, 64)]


def arguments() -> argparse.Namespace:
    """Return what was told."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpus", type=lambda text: [float(one) for one in text.split(",")], default="0.5,1,2")
    parser.add_argument("--workloads", type=lambda text: text.split(","), default=list(WORKLOADS))
    parser.add_argument("--pools", type=lambda text: text.split(","), default=[*STOCK, "ours"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long a run is; phases take twice as long")
    parser.add_argument("--explain", action="store_true", help="show what ours decided last")
    parser.add_argument("--json", type=Path, help="a file for every run; what is there already counts, too")
    parser.add_argument("--markdown", type=Path, help="a file for the table")
    into_docs.add_option(parser)
    return parser.parse_args()


def run(lab: Path, told: argparse.Namespace, workload: str, cpus: float, pool: str) -> dict[str, Any]:
    """Run once and return the record."""
    seconds = told.seconds * (2 if workload == "phases" else 1)
    job = {"workload": workload, "pool": pool, "seconds": seconds, "explain": told.explain}
    child = Path(__file__).with_name("oracle_child.py")
    name = f"cgxlab-oracle-{os.getpid()}-{time.monotonic_ns()}"
    command = [
        str(lab / "v1"),
        "--name",
        name,
        "--cpus",
        f"{cpus:g}",
        "--",
        sys.executable,
        str(child),
        json.dumps(job),
    ]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CGEXEC_")}
    done = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise SystemExit(f"{workload} {cpus:g} {pool}: status {done.returncode}\n{done.stderr}")
    record: dict[str, Any] = {"workload": workload, "cpus": cpus, "pool": pool, **json.loads(done.stdout)}
    shown = f"{record['rate']:.1f}/s, {record['throttled']:.0%} throttled, size {record['size']}"
    print(f"{workload} {cpus:g} {pool}: {shown}", file=sys.stderr, flush=True)
    if record.pop("explain"):
        print(json.loads(done.stdout)["explain"], file=sys.stderr)
    return record


def main() -> int:
    """Run, print and write."""
    told = arguments()
    if not os.environ.get("CGEXEC_LAB"):
        print("CGEXEC_LAB is not set: it names the folder of the laboratory, whose v1 makes cgroups", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was measured is written
    records: list[dict[str, Any]] = []
    if told.json and told.json.exists():
        records = json.loads(told.json.read_text())
    try:
        for workload in told.workloads:
            for cpus in told.cpus:
                for turn in range(told.runs):
                    shift = turn % len(told.pools)
                    for pool in told.pools[shift:] + told.pools[:shift]:
                        records.append(run(Path(os.environ["CGEXEC_LAB"]), told, workload, cpus, pool))
    finally:
        text = oracle_table.table(records)
        print(text)
        if told.json:
            told.json.write_text(json.dumps(records, indent=1) + "\n")
        if told.markdown:
            told.markdown.write_text(text + "\n")
        if told.docs:
            into_docs.put(told.docs, "oracle", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
