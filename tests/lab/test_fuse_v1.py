"""The fuse under real memory limits: what would have the process killed raises, and with "retry" comes through."""

import pytest

from support.lab import run_in

pytestmark = pytest.mark.lab
V1 = ["v1", "--memory", "192M", "--"]

WORK = """
import mmap, resource, subprocess, threading, time
import cgexec
from cgexec import ThreadPoolExecutor
MIB = 1 << 20
def soft():
    return resource.getrlimit(resource.RLIMIT_DATA)[0]
def touch(mebibytes):
    return len(bytearray(b"x" * 4096) * (mebibytes * 256))
def grow(steps):
    # Long, and all of it late: what no admission can foresee.
    time.sleep(0.3)
    held = []
    for _ in range(steps):
        held.append(bytearray(b"x" * 4096) * (2 * 256))
        time.sleep(0.005)
    return sum(map(len, held))
"""


def test_tasks_that_grow_late_all_come_through():
    seen = run_in(
        V1,
        WORK
        + """
pool = ThreadPoolExecutor(32, memory_fuse=True, on_memory_error="retry")
list(pool.map(time.sleep, [0.01] * 64))  # nothing is known of them, but that sleeping takes nothing
results = list(pool.map(grow, [16] * 64))
seen = pool.stats()
answer(right=results == [32 * MIB] * 64, failed=seen.failed, errors=seen.memory_errors, kills=seen.oom_kills)
""",
        timeout=120,
    )
    assert seen.right
    assert (seen.failed, seen.kills) == (0, 0)


def test_what_does_not_fit_even_alone_gets_its_error_and_the_pool_goes_on():
    seen = run_in(
        V1,
        WORK
        + """
pool = ThreadPoolExecutor(8, memory_fuse=True, on_memory_error="retry")
large = pool.submit(touch, 400)
small = [pool.submit(touch, 4) for _ in range(50)]
error = large.exception(60)
answer(error=type(error).__name__, small=[f.result(60) for f in small] == [4 * MIB] * 50, kills=pool.stats().oom_kills)
""",
        timeout=120,
    )
    assert seen.error == "MemoryError"
    assert seen.small
    assert seen.kills == 0


def test_with_raise_the_future_gets_the_error_where_the_kernel_would_have_killed():
    seen = run_in(
        V1,
        WORK
        + """
pool = ThreadPoolExecutor(2, memory_fuse=True)
answer(error=type(pool.submit(touch, 400).exception(60)).__name__, after=pool.submit(touch, 8).result(60))
""",
    )
    assert seen.error == "MemoryError"
    assert seen.after == 8 << 20


def test_it_is_armed_while_there_is_work_and_put_back_after():
    seen = run_in(
        V1,
        WORK
        + """
before = soft()
pool = ThreadPoolExecutor(2, memory_fuse=True)
first, second = pool.submit(soft).result(60), pool.submit(soft).result(60)
end = time.monotonic() + 60
while soft() != before and time.monotonic() < end:
    time.sleep(0.01)
after = soft()
answer(before=before, armed=[first, second], after=after, again=pool.submit(soft).result(60))
""",
    )
    assert seen.before == seen.after
    assert all(0 < armed < 600 << 20 for armed in (*seen.armed, seen.again))


def test_subprocesses_start_without_it_where_they_should():
    seen = run_in(
        V1,
        WORK
        + """
SOFT = "import resource; print(resource.getrlimit(resource.RLIMIT_DATA)[0])"
def child():
    return int(subprocess.run([sys.executable, "-c", SOFT], capture_output=True, check=True).stdout)
def child_unfused():
    with cgexec.unfused():
        return child()
pool = ThreadPoolExecutor(1, memory_fuse=True)
answer(before=soft(), inherited=pool.submit(child).result(60), unfused=pool.submit(child_unfused).result(60))
""",
    )
    assert seen.unfused == seen.before != seen.inherited


def test_sparse_mappings_count_in_full_until_nothing_runs():
    seen = run_in(
        V1,
        WORK
        + """
def sparse(wanted):
    with cgexec.unfused():
        return mmap.mmap(-1, wanted * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
pool = ThreadPoolExecutor(1, memory_fuse=True)
kept = pool.submit(sparse, 1000).result(60)
end = time.monotonic() + 60
while pool.stats().fuse is not None and time.monotonic() < end:
    time.sleep(0.01)
answer(touched=pool.submit(touch, 20).result(60), kept=len(kept) >> 20)
""",
    )
    assert seen.touched == 20 << 20
    assert seen.kept == 1000


def test_many_threads_do_not_use_it_up_by_their_stacks():
    seen = run_in(
        V1,
        WORK
        + """
pool = ThreadPoolExecutor(64, memory_fuse=True, memory_per_task="1Mi")
barrier = threading.Barrier(64, timeout=60)
waited = list(pool.map(lambda _: barrier.wait() >= 0, range(64)))
answer(all=all(waited), after=pool.submit(touch, 60).result(60))
""",
    )
    assert seen.all
    assert seen.after == 60 << 20


def test_processes_of_one_container_grow_together_and_none_is_killed():
    seen = run_in(
        V1,
        WORK
        + '''
CODE = """
import sys, time
from cgexec import ThreadPoolExecutor
def grow(steps):
    held = []
    for _ in range(steps):
        held.append(bytearray(b"x" * 4096) * 256)
        time.sleep(0.002)
    return len(held)
pool = ThreadPoolExecutor(8, memory_fuse=True, on_memory_error="retry", processes=3)
print(sum(pool.map(grow, [16] * 40)))
"""
children = [subprocess.Popen([sys.executable, "-c", CODE], stdout=subprocess.PIPE, text=True) for _ in range(3)]
outputs = [child.communicate(timeout=100)[0].strip() for child in children]
answer(outputs=outputs, statuses=[child.returncode for child in children])
''',
        timeout=120,
    )
    assert seen.statuses == [0, 0, 0]
    assert seen.outputs == ["640"] * 3


def test_without_a_limit_it_is_not_armed_and_with_observe_neither():
    seen = run_in(
        V1,
        "import os; os.environ['CGEXEC_MODE'] = 'observe'\n"
        + WORK
        + """
pool = ThreadPoolExecutor(1, memory_fuse=True)
before = soft()
answer(before=before, inside=pool.submit(soft).result(60))
""",
    )
    assert seen.before == seen.inside


def test_a_service_at_the_fuse_keeps_answering():
    pytest.importorskip("fastapi", reason="a real service needs FastAPI and uvicorn")
    pytest.importorskip("uvicorn", reason="a real service needs FastAPI and uvicorn")
    seen = run_in(
        V1,
        WORK
        + '''
import asyncio, socket
import fastapi, uvicorn
CLIENT = """
import http.client, json, sys
seen = []
for _ in range(300):
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=30)
    connection.request("GET", "/health")
    seen.append(connection.getresponse().status)
    connection.close()
print(json.dumps(seen))
"""
app = fastapi.FastAPI()
@app.get("/health")
async def health():
    return {"running": pool.stats().running}
pool = ThreadPoolExecutor(32, memory_fuse=True, on_memory_error="retry")
listening = socket.create_server(("127.0.0.1", 0))
async def main():
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    serving = asyncio.create_task(server.serve([listening]))
    done = []
    await asyncio.gather(*(pool.run(grow, 0) for _ in range(64)))  # what is learned of it is wrong from now on
    with cgexec.unfused():
        command = [sys.executable, "-c", CLIENT, str(listening.getsockname()[1])]
        client = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    async def work():
        while client.poll() is None or not pool.stats().memory_errors:
            done.append(await pool.run(grow, 20))
    await asyncio.gather(*(work() for _ in range(32)))
    server.should_exit = True
    await serving
    return done, json.loads(client.stdout.read())
done, statuses = asyncio.run(main())
seen = pool.stats()
answer(ok=statuses.count(200), asked=len(statuses), errors=seen.memory_errors, failed=seen.failed,
       right=set(done) == {40 * MIB}, kills=seen.oom_kills)
''',
        timeout=240,
    )
    assert (seen.ok, seen.asked) == (300, 300)
    assert seen.right
    assert (seen.failed, seen.kills) == (0, 0)
    assert seen.errors > 0, "it never was at the fuse"


def test_a_limit_that_falls_while_the_arena_has_more_mapped_than_that_kills_nothing():
    seen = run_in(
        V1,
        WORK
        + """
from pathlib import Path
own = next(line.split(":", 2)[2] for line in open("/proc/self/cgroup") if "memory" in line.split(":")[1].split(","))
file = Path("/sys/fs/cgroup/memory" + own.strip()) / "memory.limit_in_bytes"
def hold(mebibytes):
    held = bytearray(b"x" * 4096) * (mebibytes * 256)
    time.sleep(0.05)
    return len(held)
pool = ThreadPoolExecutor(32, memory_fuse=True, on_memory_error="retry")
results = list(pool.map(hold, [8] * 100))
futures = [pool.submit(hold, 8) for _ in range(400)]
size, end = 192, time.monotonic() + 60
while size > 112 and time.monotonic() < end:
    try:  # the kernel refuses as long as more is used
        file.write_text(str((size - 8) * MIB))
        size -= 8
    except OSError:
        time.sleep(0.01)
        continue
    while pool.stats().memory_limit > size * MIB and not all(each.done() for each in futures) and time.monotonic() < end:
        time.sleep(0.005)  # until the pool has seen it
results += [future.result(60) for future in futures]
answer(right=results == [8 * MIB] * 500, limit=int(file.read_text()) // MIB, kills=pool.stats().oom_kills)
""",
        timeout=150,
    )
    assert seen.right
    assert (seen.limit, seen.kills) == (112, 0)
