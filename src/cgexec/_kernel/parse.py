"""
Kernel text to values, one function per file format. Pure, for any system; opens nothing.

``None`` means *no limit*: ``max``, ``-1`` and v1's huge sentinels end here and are never seen again. What does not
have the format raises `MalformedFile`; the caller makes a note of it and treats the file as if it said nothing.

Numbers are ASCII digits and nothing else. ``int()`` would take ``1_000``, ``+5`` and digits of other scripts,
``float()`` would take ``nan`` and ``1e5``; the kernel prints none of these.

Formats: admin-guide/cgroup-v2.rst, admin-guide/cgroup-v1/{memory,cpusets,pids}.rst, scheduler/sched-bwc.rst,
accounting/psi.rst and filesystems/proc.rst of the kernel's documentation.
"""

__all__ = [
    "MalformedFile",
    "parse_bytes_limit",
    "parse_cfs_period",
    "parse_cfs_quota",
    "parse_count",
    "parse_cpu_list",
    "parse_cpu_max",
    "parse_flag",
    "parse_flat_keyed",
    "parse_kib_table",
    "parse_pids_max",
    "parse_pressure",
    "parse_status_word",
]

# v1 prints "unlimited" as the largest page-aligned signed number, so how near to 2**63 it lies depends on the page
# size (up to 64 KiB); v2 never prints anything that large.
UNLIMITED_BYTES = 2**63 - 2**16
# v1 on 32-bit kernels counts pages in a signed 32-bit word: 2**31 - 1 pages of 4 KiB.
UNLIMITED_BYTES_32BIT = (2**31 - 1) * 4096
# The kernel's default of 100 ms, used where cpu.max holds one field.
DEFAULT_PERIOD_US = 100_000
_BLANKS = " \t\n"
_LONGEST_NUMBER = 20  # digits of 2**64 - 1


class MalformedFile(ValueError):  # named after the fact; it never leaves the package
    """A kernel file that does not have the format it should have; the text says what was expected and found."""

    def __init__(self, expected: str, found: str) -> None:
        shown = found if len(found) <= 60 else found[:60] + "..."
        super().__init__(f"expected {expected}, got {shown!r}")


def _number(word: str) -> int | None:
    """Return the number that *word* spells, None if it is not one to sixty-four bits of ASCII digits."""
    if word.isascii() and word.isdigit() and len(word) <= _LONGEST_NUMBER:
        return int(word)
    return None


def _words(text: str) -> list[str]:
    """Divide at the blanks the kernel prints; ``str.split`` would also divide at blanks of other scripts."""
    return [word for word in text.replace("\t", " ").replace("\n", " ").split(" ") if word]


def parse_count(text: str) -> int:
    """Return the one number in a file such as ``memory.current`` or ``pids.current``."""
    value = _number(text.strip(_BLANKS))
    if value is None:
        raise MalformedFile("a number", text)
    return value


def parse_flag(text: str) -> bool:
    """Return a file of ``0`` or ``1``, such as ``memory.oom.group``."""
    word = text.strip(_BLANKS)
    if word not in ("0", "1"):
        raise MalformedFile("0 or 1", text)
    return word == "1"


def parse_bytes_limit(text: str) -> int | None:
    """
    Return a limit in bytes: v2 ``memory.max``, ``memory.high``, ``memory.swap.max``; v1 ``*.limit_in_bytes``.

    ``max``, a negative number and v1's sentinels mean no limit; 0 is a limit.
    """
    word = text.strip(_BLANKS)
    if word == "max" or (word.startswith("-") and _number(word[1:]) is not None):
        return None
    value = _number(word)
    if value is None:
        raise MalformedFile('"max" or a number of bytes', text)
    return None if value >= UNLIMITED_BYTES or value == UNLIMITED_BYTES_32BIT else value


def parse_pids_max(text: str) -> int | None:
    """Return ``pids.max``: a number of tasks (threads count), or None for ``max``."""
    word = text.strip(_BLANKS)
    if word == "max":
        return None
    value = _number(word)
    if value is None:
        raise MalformedFile('"max" or a number', text)
    return value


def parse_cpu_max(text: str) -> float | None:
    """
    Return the CPU bandwidth granted by a v2 ``cpu.max`` file, in CPUs.

    The file holds ``<quota> <period>``, both in microseconds; a quota of ``max`` means no limit. One field alone is
    taken with the default period.

    Raises:
        MalformedFile: another shape (an empty file has been met in the field), or a zero.
    """
    words = _words(text)
    if len(words) not in (1, 2):
        raise MalformedFile('"<quota|max> <period>"', text)
    period = _number(words[1]) if len(words) == 2 else DEFAULT_PERIOD_US
    if not period:
        raise MalformedFile('"<quota|max> <period>" with a period above 0', text)
    if words[0] == "max":
        return None
    quota = _number(words[0])
    if not quota:
        raise MalformedFile('"<quota|max> <period>" with a quota above 0', text)
    return quota / period


def parse_cfs_quota(text: str) -> int | None:
    """Return v1's ``cpu.cfs_quota_us``, the microseconds of each period; a negative quota is none."""
    word = text.strip(_BLANKS)
    if word.startswith("-") and _number(word[1:]) is not None:
        return None
    quota = _number(word)
    if not quota:
        raise MalformedFile("a quota of -1 or above 0", text)
    return quota


def parse_cfs_period(text: str) -> int:
    """Return v1's ``cpu.cfs_period_us``."""
    period = _number(text.strip(_BLANKS))
    if not period:
        raise MalformedFile("a period above 0", text)
    return period


def parse_flat_keyed(text: str, wanted: frozenset[str]) -> dict[str, int]:
    """
    Return the *wanted* keys of a "flat keyed" file (``memory.stat``, ``cpu.stat``, ``memory.events``).

    Other lines are passed over: kernels add keys, and the files are read often.

    Raises:
        MalformedFile: there is none of them at all.
    """
    found: dict[str, int] = {}
    for line in text.split("\n"):
        key, _, word = line.partition(" ")
        if key in wanted and (value := _number(word)) is not None:
            found[key] = value
    if not found:
        raise MalformedFile(f'lines of "<key> <number>" with {min(wanted)} among them', text)
    return found


def parse_cpu_list(text: str) -> int | None:
    """
    Return how many CPUs a list such as ``0-2,5,7-8`` names; None if it is empty, which is *no statement*.

    Ranges may overlap. They are counted, not expanded: ``0-4294967295`` costs nothing.
    """
    ranges: list[tuple[int, int]] = []
    for part in text.strip(_BLANKS).split(","):
        if not part:
            continue
        first, dash, last = part.partition("-")
        low, high = _number(first), _number(last if dash else first)
        if low is None or high is None or high < low:
            raise MalformedFile('a list of CPUs such as "0-2,5"', text)
        ranges.append((low, high))
    count, beyond = 0, -1
    for low, high in sorted(ranges):
        count += max(0, high - max(low - 1, beyond))
        beyond = max(beyond, high)
    return count or None


def parse_pressure(text: str) -> dict[str, float]:
    """
    Return a pressure-stall (PSI) file as total stall time in seconds by kind, ``some`` and ``full``.

    The averages are left out: differences of ``total`` give any window one likes. Lines of another shape are passed
    over on purpose; kernels have added some.
    """
    found: dict[str, float] = {}
    for line in text.split("\n"):
        kind, _, rest = line.partition(" ")
        for word in _words(rest):
            key, _, value = word.partition("=")
            if key == "total" and (total_us := _number(value)) is not None:
                found[kind] = total_us / 1e6
    if not found:
        raise MalformedFile('lines of "some|full avg10=... total=<us>"', text)
    return found


def parse_kib_table(text: str, wanted: frozenset[str]) -> dict[str, int]:
    """Return the *wanted* ``<Key>: <number> kB`` lines of ``/proc/meminfo`` or ``/proc/<pid>/status``, in bytes."""
    found: dict[str, int] = {}
    for line in text.split("\n"):
        key, colon, rest = line.partition(":")
        if colon and key in wanted:
            words = _words(rest)
            value = _number(words[0]) if len(words) == 2 and words[1] == "kB" else None
            if value is not None:
                found[key] = value * 1024
                if len(found) == len(wanted):
                    break  # these files are long, and what is wanted stands near their top
    return found


def parse_status_word(text: str, key: str) -> str | None:
    """Return what follows ``<key>:`` in ``/proc/<pid>/status``, None if there is no such line."""
    for line in text.split("\n"):
        name, colon, rest = line.partition(":")
        if colon and name == key:
            return rest.strip(_BLANKS)
    return None
