"""A record as bytes: what is written comes back, and nothing else does."""

import math

from hypothesis import example, given
from hypothesis import strategies as st

from cgexec._flight.layout import FILE_BYTES, SLOT_BYTES, Doing, Record, pack, unpack
from cgexec._flight.words import last_words

RECORD = Record(
    when=1_700_000_000.5, pid=1, started=77, limit=4 << 30, used=3 << 30, oom_kills=2, size=8, running=3, waiting=20,
    functions=(Doing("app.report", 280.0), Doing("app.mail", 3.0)), source="/sys/fs/cgroup/memory.max", host="api-7d9",
    cgroup=5,
)  # fmt: skip
TEXT = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=15)
COUNT = st.integers(0, 2**32 - 1)
SIZE = st.none() | st.integers(0, 2**63 - 1)
RECORDS = st.builds(
    Record, when=st.floats(0, 1e11), pid=COUNT, started=st.integers(0, 2**62), limit=SIZE, used=SIZE, oom_kills=SIZE,
    size=COUNT, running=COUNT, waiting=COUNT, source=TEXT, host=TEXT, cgroup=COUNT,
    functions=st.lists(st.builds(Doing, TEXT, st.floats(0, 1e9)), max_size=12).map(tuple),
)  # fmt: skip


@given(RECORDS)
def test_what_is_written_comes_back(record):
    assert unpack(pack(record, 1)) == record


def test_the_newer_slot_counts():
    newer = RECORD._replace(running=7)
    assert unpack(pack(RECORD, 4) + pack(newer, 5)) == newer
    assert unpack(pack(newer, 6) + pack(RECORD, 5)) == newer


@given(st.integers(0, SLOT_BYTES - 1))
def test_a_slot_cut_in_the_middle_of_a_write_leaves_the_other(cut):
    old, new = pack(RECORD, 4), pack(RECORD._replace(running=7, used=1, pid=9), 6)
    torn = new[:cut] + old[cut:]
    assert unpack(torn + pack(RECORD, 5)) in (RECORD, RECORD._replace(running=7, used=1, pid=9))
    if torn not in (old, new):
        assert unpack(torn + bytes(SLOT_BYTES)) in (None, RECORD._replace(running=7, used=1, pid=9))


def test_what_is_too_long_is_cut_between_characters():
    record = RECORD._replace(functions=(Doing("ä" * 100, 1.0),) * 20, running=2**40, source="s" * 500)
    seen = unpack(pack(record, 1))
    assert seen.functions == (Doing("ä" * 52, 1.0),) * 12
    assert (seen.running, seen.source) == (2**32 - 1, "s" * 128)


@given(st.binary(max_size=FILE_BYTES))
@example(b"")
@example(b"cgx1" * 1024)
@example(bytes(FILE_BYTES))
def test_garbage_is_no_record(data):
    assert unpack(data) is None


@given(RECORDS, st.integers(0, SLOT_BYTES - 1), st.binary(min_size=1, max_size=8))
def test_a_damaged_record_is_none_or_the_same(record, at, damage):
    data = bytearray(pack(record, 3))
    data[at : at + len(damage)] = damage
    seen = unpack(bytes(data[:SLOT_BYTES]))
    assert seen is None or seen == record


@given(st.lists(RECORDS, min_size=1, max_size=3), st.none() | st.integers(0, 9))
@example([RECORD._replace(functions=(Doing("", math.inf),))], None)
def test_there_are_words_for_any_record(records, kills):
    assert last_words(records, kills).startswith("a process with pools ended without saying so")


def test_the_words():
    assert last_words([RECORD], 2, 5) == (
        "a process with pools ended without saying so (pid 1 on api-7d9): killed by a signal, or crashed; memory was "
        "not near its limit when last looked at, though a sudden allocation may have been killed for it. Last seen 2023-11-14T22:13:20Z: 3 GiB of 4 GiB in use "
        "(/sys/fs/cgroup/memory.max), 3 of 8 running, 20 waiting; longest app.report for 280 s, app.mail for 3 s"
    )


def test_the_tasks_of_all_that_ended_are_named_the_longest_first():
    """The kernel may kill a whole container at once, and the culprit need not be the one that wrote last."""
    left = [
        RECORD._replace(pid=3, functions=(Doing("app.mail", 9.0),)),
        RECORD._replace(pid=2, when=1_699_999_999.0, functions=(Doing("app.monthly", 280.0), Doing("app.mail", 1.0))),
    ]
    assert last_words(left, 2, 5).endswith(
        "; longest of all app.monthly for 280 s (pid 2), app.mail for 9 s (pid 3), app.mail for 1 s (pid 2). "
        "1 more: pid 2 on api-7d9 at 2023-11-14T22:13:19Z"
    )


def test_hundreds_that_ended_are_still_one_line_of_a_log():
    left = [RECORD._replace(pid=n, functions=(Doing(f"app.f{n}", float(n)),)) for n in range(300)]
    said = last_words(left, 2, 5)
    assert said.count("app.f") == 12
    assert "longest of all app.f299 for 299 s (pid 299), app.f298" in said
    assert said.endswith("pid 8 on api-7d9 at 2023-11-14T22:13:20Z; and 291 others")
    assert len(said) < 2000


def test_the_verdict_follows_the_evidence():
    near = RECORD._replace(used=int(3.9 * (1 << 30)))
    assert "most likely killed by the kernel for memory" in last_words([near], None)
    assert "most likely killed by the kernel for memory" in last_words([near], 0)  # a new container counts from zero
    assert "the kernel has killed in this container" in last_words([RECORD], 3, 5)
    # Kills that another container has counted, and one whose count cannot be told from it, prove nothing.
    for cgroup in (0, 6):
        assert "the kernel has killed" not in last_words([RECORD], 3, cgroup)
        assert ("it ran in another container, whose kills are not known here" in last_words([RECORD], 3, cgroup)) == (
            cgroup == 6
        )
    assert "the kernel has killed" not in last_words([RECORD._replace(cgroup=0)], 3, 0)
    assert "ended without saying so (pid 1 on api-7d9): killed, or crashed." in last_words(
        [RECORD._replace(limit=None, used=None)], None
    )
