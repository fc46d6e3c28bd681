"""What glibc keeps of what was freed: each test in a process of its own, as it is told for good."""

from types import SimpleNamespace

import pytest

from cgexec._memory import allocator
from cgexec._memory.gauge import Reading
from cgexec._pool import watch as watching
from support.lab import run_alone

pytestmark = pytest.mark.skipif(allocator.free_bytes() is None, reason="the C library is not glibc 2.33 or later")

START = """
import resource, threading
import cgexec
from cgexec._memory import allocator
MIB = 1 << 20
def faults(pool, size=8 * MIB):
    def task():
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        bytearray(b"x") * size
        return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before
    return pool.submit(task).result(30)
def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))
"""
# More than there is: what else the container runs counts, too.
LIMITED = 'os.environ["CGEXEC_MEMORY"] = "1Ti"\n' + START
IN_A_WORKER = """
def is_shared(**options):
    with cgexec.ThreadPoolExecutor(1, **options) as pool:
        return pool.submit(allocator.is_on_main_arena).result(30)
"""


def test_under_a_limit_workers_share_one_arena():
    assert run_alone(LIMITED + IN_A_WORKER + "answer(shared=is_shared())").shared


@pytest.mark.parametrize("mode", ["observe", "off"])
def test_who_wants_nothing_changed_keeps_an_arena_for_each_thread(mode):
    set_mode = f'os.environ["CGEXEC_MODE"] = "{mode}"\n'
    assert not run_alone(LIMITED + IN_A_WORKER + set_mode + "answer(shared=is_shared())").shared


def test_what_one_worker_has_freed_the_next_has_without_page_faults():
    seen = run_alone(
        LIMITED
        + """
with cgexec.ThreadPoolExecutor(1) as one, cgexec.ThreadPoolExecutor(1) as other:
    first = faults(one)
    faults(one)  # the first freed has told glibc how large blocks are
    answer(first=first, other=faults(other))
"""
    )
    assert seen.first > 2000  # pages of 8 MiB
    assert seen.other < 200


def test_a_thread_with_an_arena_of_its_own_is_found_out():
    seen = run_alone(
        LIMITED
        + """
from cgexec._pool.watch import watch
held, ready = threading.Event(), threading.Event()
def another():
    bytearray(64 << 10)
    ready.set()
    held.wait(30)
thread = threading.Thread(target=another)
thread.start()
ready.wait(30)
with cgexec.ThreadPoolExecutor(4) as pool:
    barrier = threading.Barrier(4)
    def task():
        barrier.wait(30)
        return allocator.is_on_main_arena()
    shared = [future.result(30) for future in [pool.submit(task) for _ in range(4)]]
    crew, = watch().scene.crews.all()
    answer(shared=all(shared), known=crew.shares_arena)
held.set()
"""
    )
    assert (seen.shared, seen.known) == (False, False)


def test_pinned_large_blocks_go_back_at_once():
    seen = run_alone(
        START
        + """
def thread():
    for _ in range(3):  # so that glibc would keep them
        bytearray(b"x") * (8 * MIB)
    large.append(allocator.pin(1 << 30))
    block = bytearray(b"x") * (8 * MIB)
    before = resident()
    del block
    back.append(before - resident())
large, back = [], []
other = threading.Thread(target=thread)
other.start()
other.join(30)
answer(large=large[0], back=back[0])
"""
    )
    assert seen.large == 1 << 20
    assert seen.back > 7 << 20


@pytest.mark.parametrize(
    ("limit", "large"), [(64 << 20, 256 << 10), (4 << 30, 4 << 20), (1 << 40, 32 << 20)], ids=["least", "part", "most"]
)
def test_what_is_large_depends_on_the_limit(limit, large):
    assert run_alone(START + f"answer(large=allocator.pin({limit}))").large == large


def test_a_limit_that_falls_under_a_fuse_has_the_allocator_give_back_what_is_freed(monkeypatch):
    pins, pinned = [], []
    monkeypatch.setattr(watching, "pin", pins.append)
    monkeypatch.setattr(
        watching, "fuse", lambda: SimpleNamespace(follow=lambda *_, **told: pinned.append(told["pinned"]))
    )
    watch = watching.Watch()
    pool = SimpleNamespace(care=SimpleNamespace(fuse=True), need=SimpleNamespace(works=True, busy=[]))

    def arm(limit):
        watch._arm([pool], Reading(0, limit, "by hand", None, 1, 0), 0)

    for limit in (256, 256, 512, 256, 256):
        arm(limit << 20)
    assert pins == [256 << 20]
    assert pinned == [False, False, False, True, True]
