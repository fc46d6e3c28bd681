"""The pool under real memory limits: what would be killed for it is not, and what is no use holds nothing back."""

import pytest

from support.lab import cold_file, run_in

pytestmark = pytest.mark.lab

WORK = """
import logging, threading, time
from cgexec import ThreadPoolExecutor
MIB = 1 << 20
records = []
class Keep(logging.Handler):
    def emit(self, record):
        records.append(record.getMessage())
logging.getLogger("cgexec").addHandler(Keep())
logging.getLogger("cgexec").setLevel(logging.INFO)
def work(mebibytes):
    held = bytearray(b"x" * 4096) * (mebibytes * 256)
    time.sleep(0.02)
    return len(held)
"""


def test_tasks_that_would_be_killed_at_once_run_as_memory_allows():
    seen = run_in(
        ["v1", "--memory", "192M", "--"],
        WORK
        + """
pool = ThreadPoolExecutor(32)
done = list(pool.map(work, [16] * 120))
seen = pool.stats()
answer(done=done == [16 * MIB] * 120, footprints={name: f.bytes for name, f in seen.footprints.items()},
       held=seen.held_seconds, kills=seen.oom_kills, limit=seen.memory_limit, healthy=seen.healthy)
""",
        timeout=120,
    )
    assert seen.done
    assert seen.kills == 0
    assert seen.limit == 192 << 20
    assert seen.healthy
    assert 0 < seen.held < 60
    assert 8 << 20 < seen.footprints.work <= 192 << 20, "shares are on the safe side where calls are short"


def test_tasks_that_wait_for_their_children_neither_stand_still_nor_are_killed():
    seen = run_in(
        ["v1", "--memory", "256M", "--"],
        WORK
        + """
pool = ThreadPoolExecutor(8)
def parent():
    held = bytearray(b"x" * 4096) * (30 * 256)
    return sum(child.result(60) for child in [pool.submit(work, 40) for _ in range(3)]) + len(held)
parents = [pool.submit(parent) for _ in range(4)]
answer(done=[each.result(60) for each in parents] == [150 * MIB] * 4)
""",
        timeout=120,
    )
    assert seen.done


def test_what_burst_after_burst_takes_again_is_not_forgotten():
    """In the second burst use does not grow, if the first left its blocks in the arena: nothing would be learned of it."""
    seen = run_in(
        ["v1", "--memory", "1G", "--"],
        WORK
        + """
from cgexec._pool import ticker
from cgexec._pool.watch import watch
def task(n):
    block = bytearray(b"x") * (24 * MIB)
    barrier.wait(30)
    if n == 0:
        watch().look()  # all four are seen to hold it
    barrier.wait(30)
    return len(block)
barrier = threading.Barrier(4)
with ThreadPoolExecutor(4) as pool:
    learned, before = [], watch().planner.floor
    for burst in range(28):
        list(pool.map(task, range(4)))
        end = time.monotonic() + 30
        while (not watch()._resting or ticker.expects(watch())) and time.monotonic() < end:
            time.sleep(0.005)
        learned.append(max(each.bytes for each in pool.stats().footprints.values()) // MIB)
    answer(learned=learned, risen=(watch().planner.floor - before) / MIB)
""",
        timeout=120,
    )
    assert seen.risen < 40  # of up to 96 that a burst leaves, by the layout of the heap
    assert all(each >= 20 for each in seen.learned)


def test_a_large_call_says_so_and_waits_until_it_fits():
    seen = run_in(
        ["v1", "--memory", "192M", "--"],
        WORK
        + """
pool = ThreadPoolExecutor(16)
small = [pool.submit(work, 2) for _ in range(40)]
large = [pool.options(memory="100Mi").submit(work, 90) for _ in range(3)]
more = [pool.submit(work, 2) for _ in range(40)]
answer(done=[f.result(60) for f in small + large + more] == [2 * MIB] * 40 + [90 * MIB] * 3 + [2 * MIB] * 40)
""",
        timeout=120,
    )
    assert seen.done


def test_readers_beside_a_fuse_leave_room_for_what_they_read(tmp_path):
    with cold_file(tmp_path, 768 << 20) as file:
        seen = run_in(
            ["v1", "--memory", "256M", "--"],
            WORK
            + f"""
def read(number):
    buffer = bytearray(b"x" * 4096) * 1600
    with open({str(file)!r}, "rb", buffering=0) as source:
        source.seek(number % 96 * 8 * MIB)
        got = source.readinto(buffer)
    time.sleep(0.3)
    return got
pool = ThreadPoolExecutor(32, memory_fuse=True, on_memory_error="retry")
done = list(pool.map(read, range(192)))
answer(done=done == [1600 * 4096] * 192)
""",
            timeout=120,
        )
    assert seen.done


def test_page_cache_holds_nothing_back(tmp_path):
    with cold_file(tmp_path, 300 << 20) as file:
        seen = run_in(
            ["v1", "--memory", "192M", "--"],
            WORK
            + f"""
def read(number):
    total = 0
    with open({str(file)!r}, "rb") as source:
        while chunk := source.read(MIB):
            total += len(chunk)
    return total
pool = ThreadPoolExecutor(8)
done = list(pool.map(read, range(16)))
seen = pool.stats()
answer(done=done == [300 * MIB] * 16, used=seen.memory_used, cache=usage().page_cache_bytes, held_for=seen.held_for)
""",
            timeout=120,
        )
    assert seen.done
    assert seen.cache > 100 << 20
    assert seen.used < 100 << 20
    assert seen.held_for is None


def test_with_the_gate_closed_little_is_accepted_and_one_starts_in_the_end():
    seen = run_in(
        ["v1", "--memory", "128M", "--"],
        WORK
        + """
ballast = bytearray(b"x" * 4096) * (100 * 256)
from cgexec import QueueFull
pool = ThreadPoolExecutor(4, when_full="raise", name="jobs")
first = pool.submit(work, 1)
end = time.monotonic() + 60
while pool.stats().held_for is None and time.monotonic() < end:
    time.sleep(0.001)
refused = None
while refused is None and time.monotonic() < end and not first.done():
    try:
        pool.submit(work, 1)
    except QueueFull as error:
        refused = error.reason
held = pool.stats().held_for
result = first.result(60)
answer(refused=refused, held=held, result=result, said=records)
""",
        timeout=120,
    )
    assert seen.refused == "memory"
    assert seen.held is not None
    assert seen.result == 1 << 20
    assert any("one task is started all the same" in line for line in seen.said)


def test_a_task_larger_than_the_container_is_announced():
    seen = run_in(
        ["v1", "--memory", "128M", "--"],
        WORK
        + """
pool = ThreadPoolExecutor(4)
result = pool.options(memory="1Gi").submit(work, 8).result(60)
answer(result=result, said=records)
""",
    )
    assert seen.result == 8 << 20
    assert any("runs alone" in line for line in seen.said)


def test_observe_holds_nothing_and_counts():
    seen = run_in(
        ["v1", "--memory", "192M", "--"],
        "import os; os.environ['CGEXEC_MODE'] = 'observe'\n"
        + WORK
        + """
pool = ThreadPoolExecutor(8)
pool.submit(work, 1).result(60)  # its worker has looked
barrier = threading.Barrier(8, timeout=60)
def together(number):
    barrier.wait()
    return number
done = [pool.options(memory="60Mi").submit(together, n) for n in range(8)]
answer(done=[f.result(60) for f in done], would=pool.stats().would)
""",
    )
    assert seen.done == list(range(8))
    assert seen.would.held >= 4


def test_without_work_nobody_looks():
    seen = run_in(
        ["v1", "--memory", "192M", "--"],
        WORK
        + """
pool = ThreadPoolExecutor(2)
pool.submit(work, 1).result(60)
end = time.monotonic() + 60
while any(t.name == "cgexec-ticker" for t in threading.enumerate()) and time.monotonic() < end:
    time.sleep(0.01)
answer(threads=sorted(t.name for t in threading.enumerate() if t.name == "cgexec-ticker"))
""",
    )
    assert seen.threads == []


def test_what_is_held_when_the_interpreter_ends_is_still_run():
    seen = run_in(
        ["v1", "--memory", "128M", "--"],
        WORK
        + """
ballast = bytearray(b"x" * 4096) * (100 * 256)
done = []
def last(number):
    done.append(number)
    if len(done) == 3:
        answer(done=done)
pool = ThreadPoolExecutor(2)
for number in range(3):
    pool.submit(last, number)
""",
    )
    assert seen.done == [0, 1, 2]


def test_a_limit_that_is_changed_while_it_runs_is_followed():
    seen = run_in(
        ["v1", "--memory", "192M", "--"],
        WORK
        + """
own = next(line.split(":", 2)[2] for line in open("/proc/self/cgroup") if "memory" in line.split(":")[1].split(","))
file = ours("/sys/fs/cgroup/memory" + own.strip()) / "memory.limit_in_bytes"
stop = threading.Event()
pool = ThreadPoolExecutor(2)
running = pool.submit(stop.wait, 60)
def followed(limit):
    end = time.monotonic() + 60
    while pool.stats().memory_limit != limit and time.monotonic() < end:
        time.sleep(0.01)
    return pool.stats().memory_limit
before = followed(192 * MIB)
os.system(f"echo {160 * MIB} > {file}")
after = followed(160 * MIB)
stop.set()
answer(before=before, after=after, ended=running.result(60))
""",
        timeout=180,
    )
    assert (seen.before, seen.after) == (192 << 20, 160 << 20)
    assert seen.ended


def test_without_descriptors_it_looks_on_and_without_memory_it_looks_again():
    seen = run_in(
        ["v1", "--memory", "192M", "--"],
        WORK
        + """
import resource
pool = ThreadPoolExecutor(8)
first = list(pool.map(work, [4] * 16))
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))  # none can be opened; those that are open stay
second = list(pool.map(work, [16] * 60))
used = pool.stats().memory_used
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
from cgexec._pool.watch import watch
look, failed = watch().gauge.read, []
def no_memory(*args, **kwargs):  # the real one cannot be had at a chosen moment
    failed.append(1)
    if len(failed) % 2:
        raise MemoryError
    return look(*args, **kwargs)
watch().gauge.read = no_memory
third = list(pool.map(work, [16] * 60))
answer(right=[sum(first), sum(second), sum(third)], used=used, failed=len(failed), kills=usage().oom_kills, said=records)
""",
        timeout=180,
    )
    assert seen.right == [64 << 20, 960 << 20, 960 << 20]
    assert seen.used > 0
    assert seen.failed > 1
    assert seen.kills == 0
    assert any("looking at memory failed (MemoryError()" in line for line in seen.said)


def test_a_child_that_its_parent_waits_for_is_not_held_for_ever():
    seen = run_in(
        ["v1", "--memory", "192M", "--"],
        WORK
        + """
pool = ThreadPoolExecutor(8)
def parent(number):
    kept = bytearray(b"x" * 4096) * (45 * 256)
    return pool.submit(work, 1).result(60) + len(kept)
answer(results=[one.result(100) for one in [pool.submit(parent, n) for n in range(3)]], kills=usage().oom_kills)
""",
        timeout=180,
    )
    assert seen.results == [46 << 20] * 3
    assert seen.kills == 0


def test_estimates_are_kept_to_however_much_room_there_is():
    seen = run_in(
        ["v1", "--memory", "1G", "--"],
        WORK
        + """
def large():
    return work(220)
pool = ThreadPoolExecutor(8)
list(pool.map(time.sleep, [0.01] * 50))
told = pool.options(memory="230Mi")
first = [one.result(100) for one in [told.submit(large) for _ in range(8)]]
second = list(ThreadPoolExecutor(8, memory_per_task="230Mi").map(lambda n: large(), range(8)))
learned = ThreadPoolExecutor(8)
alone = [learned.submit(work, 110).result(60) for _ in range(12)]
list(learned.map(time.sleep, [0.01] * 50))
burst = [one.result(60) for one in [learned.submit(work, 110) for _ in range(16)]]
answer(results=[len(first), len(second), len(alone), len(burst)], kills=usage().oom_kills)
""",
        timeout=240,
    )
    assert seen.results == [8, 8, 12, 16]
    assert seen.kills == 0


def test_pages_that_are_to_be_written_hold_nothing_back(tmp_path):
    seen = run_in(
        ["v1", "--memory", "192M", "--"],
        WORK
        + f"""
def write(number):
    with open({str(tmp_path)!r} + f"/{{number}}", "wb") as file:
        for _ in range(64):
            file.write(b"x" * MIB)
pool = ThreadPoolExecutor(8)
list(pool.map(write, range(16)))
seen = pool.stats()
answer(used=seen.memory_used, alone=[line for line in records if "[memory-too-large]" in line])
""",
        timeout=180,
    )
    assert seen.used < 100 << 20
    assert seen.alone == []
