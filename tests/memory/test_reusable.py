"""What lies free in the allocator for the next task: by hand-made readings, and of real processes."""

import pytest

from cgexec._memory import allocator
from cgexec._memory.gap import Gap
from cgexec._memory.gauge import Own
from cgexec._memory.reusable import Reusable
from support.lab import MIB, run_alone

STACK = 8 * MIB


def own(private, data, threads=1):
    return Own(private, 0, private, private, data, threads)


class Library:
    """A C library of which so many bytes are free, and a clock that it moves."""

    def __init__(self, free=0, seconds=0.0):
        self.free, self.seconds, self.now, self.asked = free, seconds, 100.0, 0
        self.reusable = Reusable(self.say, lambda: self.now, STACK)

    def say(self):
        self.now += self.seconds
        self.asked += 1
        return self.free


def test_what_is_free_and_resident_is_reusable():
    library = Library()
    library.reusable.see(own(20 * MIB, 60 * MIB), rest=True)  # 40 MiB are mapped and were never touched
    library.free = 30 * MIB
    assert library.reusable.see(own(120 * MIB, 160 * MIB), rest=False) == 30 * MIB


def test_what_was_given_back_is_not():
    library = Library()
    library.reusable.see(own(20 * MIB, 60 * MIB), rest=True)
    library.free = 30 * MIB
    assert library.reusable.see(own(100 * MIB, 160 * MIB), rest=False) == 10 * MIB
    assert library.reusable.see(own(60 * MIB, 160 * MIB), rest=False) == 0


def test_stacks_of_threads_started_later_are_not_touched_either():
    library = Library()
    library.reusable.see(own(20 * MIB, 60 * MIB), rest=True)
    library.free = 30 * MIB
    assert library.reusable.see(own(50 * MIB, 90 * MIB + 4 * STACK, threads=5), rest=False) == 30 * MIB
    assert library.reusable.see(own(50 * MIB, 90 * MIB + 4 * STACK, threads=3), rest=False) == 30 * MIB, (
        "they stay mapped"
    )
    assert library.reusable.see(own(50 * MIB, 90 * MIB + 4 * STACK, threads=5), rest=False) == 30 * MIB


def test_no_more_stacks_stay_mapped_than_the_library_keeps():
    gap = Gap(STACK, spare=2 * STACK)
    gap.rest(own(0, 0, threads=8), 0)
    assert gap.at(8) == 0
    assert gap.at(7) == gap.at(6) == 0
    assert gap.at(5) == -STACK
    assert gap.at(9) == STACK


def test_nothing_is_where_nobody_tells_and_nobody_is_asked_again():
    library = Library(free=None)
    assert library.reusable.see(own(20 * MIB, 60 * MIB), rest=True) == 0
    assert library.reusable.see(own(20 * MIB, 60 * MIB), rest=True) == 0
    assert library.asked == 1


def test_nothing_is_before_the_gap_is_known_or_where_the_kernel_does_not_tell():
    library = Library(free=30 * MIB)
    assert library.reusable.see(own(120 * MIB, 160 * MIB), rest=False) == 0
    assert library.reusable.see(own(120 * MIB, 0), rest=True) == 0


def test_a_library_that_takes_long_is_left_alone_for_a_minute():
    library = Library(free=30 * MIB, seconds=0.01)
    for _ in range(5):
        library.reusable.see(own(20 * MIB, 20 * MIB), rest=True)
    assert library.asked == 3
    library.now += 61
    library.seconds = 0.0
    library.free = 0
    library.reusable.see(own(20 * MIB, 20 * MIB), rest=True)
    library.free = 5 * MIB
    assert library.reusable.see(own(25 * MIB, 25 * MIB), rest=False) == 5 * MIB


@pytest.mark.skipif(allocator.free_bytes() is None, reason="the C library is not glibc 2.33 or later")
def test_in_a_real_process_it_is_what_was_freed_until_it_is_given_back():
    seen = run_alone("""
        from cgexec._memory.allocator import trim
        from cgexec._memory.gauge import Gauge
        from cgexec._memory.reusable import Reusable
        reusable, gauge = Reusable(), Gauge()
        seen = [reusable.see(gauge.own(), rest=True)]
        blocks = [bytearray(b"x" * 100_000) for _ in range(1000)]
        seen.append(reusable.see(gauge.own(), rest=False))
        del blocks[:-1]
        seen.append(reusable.see(gauge.own(), rest=False))
        again = [bytearray(b"x" * 100_000) for _ in range(500)]
        seen.append(reusable.see(gauge.own(), rest=False))
        del again
        trim()
        seen.append(reusable.see(gauge.own(), rest=False))
        answer(seen=[size / 2**20 for size in seen])
    """)
    before, held, freed, taken, given_back = seen.seen
    assert before < 2
    assert held < 4
    assert freed == pytest.approx(95, abs=5)
    assert taken == pytest.approx(95 - 48, abs=5)
    assert given_back < 5
