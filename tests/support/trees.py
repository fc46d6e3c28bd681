"""
Fake machines: directories that look like ``/proc`` and ``/sys`` of some other machine, for the library's ``root=``.

They come from a text archive (`unpack`; the format is described there) or from a dict in the test (`build`, and for the
two usual shapes `v2_machine` and `v1_machine`). No test patches ``open``.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

__all__ = ["GIB", "HOST", "MIB", "SYSFS_MOUNTS", "build", "mount", "unpack", "v1_machine", "v2_machine"]

MIB = 1 << 20
GIB = 1 << 30

# 8 CPUs, all of them allowed; 16 GiB, of which 12 GiB are available. Without these files the library would have to ask
# the machine that runs the tests.
HOST: Mapping[str, str] = {
    "proc/self/status": "Name:\tpython3\nVmSize:\t  204800 kB\nRssAnon:\t   20480 kB\nRssShmem:\t    1024 kB\n"
    "Cpus_allowed_list:\t0-7\n",
    "proc/meminfo": "MemTotal:       16777216 kB\nMemFree:         8388608 kB\nMemAvailable:   12582912 kB\n"
    "Active(file):    2097152 kB\nInactive(file):  2097152 kB\n",
    "sys/devices/system/cpu/online": "0-7\n",
}
SYSFS_MOUNTS = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n23 22 0:21 / /sys rw shared:2 - sysfs sysfs rw\n"
_V1_CONTROLLERS = ("cpu", "memory", "pids", "cpuset")
_HEADER = re.compile(rb"^=== (.+)\n", re.MULTILINE)
_ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|(\\|===))")


def unpack(archive: Path, below: Path) -> Path:
    """
    Build below *below* the tree that the text *archive* describes, and return *below*.

    Lines before the first header begin with ``#``. A header begins an entry, which goes on to the next header::

        === PATH                 a file; its content follows, each line as it is
        === PATH !no-newline     the same, and the last newline does not belong to the file
        === PATH/                a directory (may be empty)
        === PATH -> TARGET       a symbolic link

    In paths and content a backslash is written ``\\\\``, a byte that is not printable UTF-8 ``\\xNN``, and a line that
    would begin with ``===`` begins with ``\\===``.
    """
    comments, *entries = _HEADER.split(archive.read_bytes())
    if not all(line.startswith(b"#") for line in comments.splitlines()):
        raise ValueError(f"{archive}: before the first header expected only comments, got {comments!r}")
    for header, body in zip(entries[::2], entries[1::2], strict=True):
        _make(below, header, body)
    return below


def _make(below: Path, header: bytes, body: bytes) -> None:
    name, _, target = header.partition(b" -> ")
    name, without_newline, _ = name.partition(b" !no-newline")
    relative = os.fsdecode(_plain(name))
    path = below / relative
    if relative.startswith("/") or ".." in path.parts:
        raise ValueError(f"header {header!r}: expected a path below the root of the tree")
    if relative.endswith("/"):
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if target:
        path.symlink_to(os.fsdecode(_plain(target)))
    else:
        content = _plain(body)
        path.write_bytes(content[:-1] if without_newline else content)


def _plain(escaped: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()) if match[1] else match[2], escaped)


def build(below: Path, files: Mapping[str, str]) -> Path:
    """Write *files* (path to content) below *below* and return it. Surrogates stand for bytes that are no UTF-8."""
    for name, content in files.items():
        path = below / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
    return below


def mount(number: int, root: str, point: str, kind: str = "cgroup2", options: str = "rw", *, parent: int = 23) -> str:
    """Return a line of mountinfo; *parent* is sysfs in `SYSFS_MOUNTS` unless told."""
    return f"{number} {parent} 0:{number} {root} {point} rw,nosuid,relatime shared:9 - {kind} {kind} {options}\n"


def v2_machine(below: Path, own: str, levels: Mapping[str, Mapping[str, str]]) -> Path:
    """Build a machine whose whole cgroup v2 hierarchy is visible; *levels* maps a cgroup to its files."""
    files = {
        "proc/self/cgroup": f"0::{own}\n",
        "proc/self/mountinfo": SYSFS_MOUNTS + mount(30, "/", "/sys/fs/cgroup"),
    }
    for path, level in levels.items():
        files |= {f"sys/fs/cgroup/{path.strip('/')}/{name}": content for name, content in level.items()}
    return build(below, {**HOST, **files})


def v1_machine(below: Path, own: str, levels: Mapping[str, Mapping[str, str]]) -> Path:
    """Build a machine with each v1 controller mounted by itself; a file's name says to which one it belongs."""
    lines = [mount(31 + n, "/", f"/sys/fs/cgroup/{c}", "cgroup", f"rw,{c}") for n, c in enumerate(_V1_CONTROLLERS)]
    files = {
        "proc/self/cgroup": "".join(f"{n}:{name}:{own}\n" for n, name in enumerate(_V1_CONTROLLERS, start=2)),
        "proc/self/mountinfo": SYSFS_MOUNTS + "".join(lines),
    }
    for path, level in levels.items():
        for name, content in level.items():
            files[f"sys/fs/cgroup/{name.partition('.')[0]}/{path.strip('/')}/{name}"] = content
    return build(below, {**HOST, **files})
