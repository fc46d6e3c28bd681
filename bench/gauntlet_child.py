"""
One run of the gauntlet, in the cgroup: runs a workload in a pool, checks every result and prints a line of JSON.
Started by gauntlet.py, and by itself for the workloads of several processes.
"""

import contextlib
import faulthandler
import json
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gauntlet_workloads


@dataclass(frozen=True)
class Job:
    """What to run; *part* is which of several processes this is."""

    workload: str
    pool: str
    memory: int
    seed: int
    scale: float
    timeout: float
    folder: str = ""
    part: int | None = None


class Gauge:
    """Counts the tasks that run. Its lock guards everything."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = self.most = self.done = 0
        self.busy = 0.0

    def watched(self, task: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return the task, counted."""

        def counted(spec: Any) -> Any:
            begin = time.monotonic()
            with self.lock:
                self.running += 1
                self.most = max(self.most, self.running)
            try:
                return task(spec)
            finally:
                with self.lock:
                    self.running -= 1
                    self.done += 1
                    self.busy += time.monotonic() - begin

        return counted


class Lowering(threading.Thread):
    """
    Halves the limit when so many tasks are done: by a thirty-second of it every tenth of a second, as the kernel (v1)
    refuses a limit below present use; what it refuses is tried again. Gives up after five seconds.
    """

    def __init__(self, gauge: Gauge, after: int, memory: int) -> None:
        super().__init__(daemon=True)
        self.gauge, self.after, self.memory = gauge, after, memory
        self.took: float | None = None
        self.ended = threading.Event()

    def run(self) -> None:
        """Wait for the tasks, then write."""
        file = own_cgroup() / "memory.limit_in_bytes"
        while self.gauge.done < self.after:
            if self.ended.wait(0.005):
                return
        begin = time.monotonic()
        step = 1
        while step <= 16 and time.monotonic() - begin < 5:
            try:
                file.write_text(str(self.memory - step * self.memory // 32))
            except OSError:  # EBUSY
                pause = 0.01
            else:
                step, pause = step + 1, 0.1
            if self.ended.wait(pause):
                return
        self.took = time.monotonic() - begin if step > 16 else None

    def stop(self) -> float | None:
        """End it, and return how long the lowering took."""
        self.ended.set()
        self.join()
        return self.took


def own_cgroup() -> Path:
    """Return the folder of this process's memory cgroup; only ever one of the laboratory's."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(",") and "cgxlab" in path:
            return Path("/sys/fs/cgroup/memory") / path.lstrip("/")
    raise RuntimeError("not in a memory cgroup of the laboratory")


def counters() -> dict[str, int]:
    """Return what the kernel counted for the cgroup, and this process's own peak."""
    kills = dict(line.split() for line in (own_cgroup() / "memory.oom_control").read_text().splitlines())
    status = Path("/proc/self/status").read_text()
    return {
        "oom_kills": int(kills["oom_kill"]),
        "cgroup_peak": int((own_cgroup() / "memory.max_usage_in_bytes").read_text()),
        "refusals": int((own_cgroup() / "memory.failcnt").read_text()),
        "peak_rss": int(status.split("VmHWM:")[1].split()[0]) * 1024,
    }


def make_pool(name: str, peak: int) -> Any:
    """Return a contender; Any because not every version of ours has every option."""
    if name.startswith("stock-"):
        return ThreadPoolExecutor(int(name.removeprefix("stock-")))
    import cgexec

    ours: Any = cgexec.ThreadPoolExecutor
    name = name.removesuffix("-huge")  # that is in the environment
    if name == "ours-default":
        return ours()
    if name == "ours-estimate":
        return ours(32, memory_per_task=peak)
    return ours(32, memory_fuse=True, on_memory_error="retry") if name == "fuse" else ours(32)


class Run:
    """One process's share of a workload."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.work = work = gauntlet_workloads.NAMED[job.workload]
        specs = work.specs(job.memory, job.seed, job.scale, job.folder)
        self.specs = specs if job.part is None else specs[job.part :: work.processes]
        for spec in self.specs:
            gauntlet_workloads.is_right(spec, job.memory, work, "")  # has the answers computed before the clock starts
        self.gauge = Gauge()
        self.task = self.gauge.watched(work.task)
        sizes = [max(spec.size for spec in self.specs[n :: work.pools]) for n in range(work.pools)]
        peaks = [int(size * (1 + work.beyond)) + work.overhead for size in sizes]
        self.pools = [make_pool(job.pool, peak) for peak in peaks]
        self.wrong = 0
        self.error: str | None = None
        self.stats: list[str] = []

    def go(self) -> dict[str, Any]:
        """Run all and return what was seen."""
        lowering = Lowering(self.gauge, len(self.specs) // 3, self.job.memory) if self.work.lowered else None
        if lowering:
            lowering.start()
        with contextlib.ExitStack() as stack:
            for pool in self.pools:
                stack.enter_context(pool)
            begin = time.monotonic()
            self.feed()
            end = time.monotonic()
            self.stats = [str(pool.stats()) for pool in self.pools if hasattr(pool, "stats")]
        seen = {"begin": begin, "end": end, "tasks": len(self.specs), "wrong": self.wrong, "error": self.error}
        running = {"mean_running": round(self.gauge.busy / (end - begin), 2), "most_running": self.gauge.most}
        lowered = {"lowered_after": lowering.stop()} if lowering else {}
        return seen | running | lowered | counters() | {"stats": self.stats}

    def feed(self) -> None:
        """Submit the tasks and take the results in order, with no more than a window of them outstanding."""
        waiting: deque[tuple[Any, Future[Any]]] = deque()
        for spec in self.specs:
            waiting.append((spec, self.submit(spec)))
            if len(waiting) == self.work.window:
                self.take(*waiting.popleft())
        while waiting:
            self.take(*waiting.popleft())

    def submit(self, spec: Any) -> Future[Any]:
        """Hand one in; with its size where sizes differ and the contender is told."""
        pool = self.pools[spec.number % len(self.pools)]
        if self.work.odd > 1 and self.job.pool == "ours-estimate":
            pool = pool.options(memory=spec.size)
        future: Future[Any] = pool.submit(self.task, spec)
        return future

    def take(self, spec: Any, future: Future[Any]) -> None:
        """Check one result, slowly if the workload says so, and drop it."""
        try:
            right = gauntlet_workloads.is_right(spec, self.job.memory, self.work, future.result())
        except Exception as error:  # noqa: BLE001  # whatever a task or a pool raises is a lost result
            right, self.error = False, self.error or repr(error)
        self.wrong += not right
        time.sleep(self.work.consume * self.work.slower(self.job.memory))


def several(job: Job, processes: int) -> dict[str, Any]:
    """Run in so many processes at once; when one dies the others are ended."""
    started = []
    for part in range(processes):
        command = [sys.executable, __file__, json.dumps(asdict(job) | {"part": part, "timeout": job.timeout - 5})]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    try:
        for process in started:
            process.stdout.readline()  # type: ignore[union-attr]  # "ready"
        for process in started:
            process.stdin.close()  # type: ignore[union-attr]
        while any(process.poll() is None for process in started) and not any(p.returncode for p in started):
            time.sleep(0.01)
        statuses = [process.poll() for process in started]
        seen = [json.loads(p.stdout.read()) for p in started if p.returncode == 0]  # type: ignore[union-attr]
    finally:
        for process in started:
            process.kill()
            process.wait()
    return together(seen) | counters() | {"statuses": statuses, "peak_rss": sum(one["peak_rss"] for one in seen)}


def together(seen: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what several processes saw as one."""
    sums = {name: sum(one[name] for one in seen) for name in ("tasks", "wrong", "mean_running", "most_running")}
    begin, end = min((one["begin"] for one in seen), default=0), max((one["end"] for one in seen), default=0)
    errors = [one["error"] for one in seen if one["error"]]
    stats = [text for one in seen for text in one["stats"]]
    return sums | {"begin": begin, "end": end, "error": errors[0] if errors else None, "stats": stats}


def main() -> None:
    """Run what the argument says."""
    job = Job(**json.loads(sys.argv[1]))
    processes = gauntlet_workloads.NAMED[job.workload].processes
    if job.part is None and processes > 1:
        seen = several(job, processes)
    else:
        run = Run(job)  # the pools first, as in a service: the thread of faulthandler would be the first otherwise
        faulthandler.dump_traceback_later(job.timeout, exit=True)
        if job.part is not None:
            print("ready", flush=True)
            sys.stdin.read()
        seen = run.go()
    print(json.dumps(seen | {"seconds": seen["end"] - seen["begin"]}), flush=True)


if __name__ == "__main__":
    main()
