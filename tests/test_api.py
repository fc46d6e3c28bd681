"""The public surface, and what importing it costs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import cgexec

PUBLIC = [
    "BoundedExecutor",
    "Leftovers",
    "Limits",
    "Profile",
    "QueueFull",
    "Recommendation",
    "Stats",
    "TaskCancelled",
    "ThreadPoolExecutor",
    "Usage",
    "cancel",
    "checkpoint",
    "format_bytes",
    "limits",
    "parse_quantity",
    "recommend",
    "serve_stats",
    "unfused",
    "usage",
    "wrap",
]


def test_public_names_are_a_short_list():
    assert sorted(cgexec.__all__) == PUBLIC
    assert set(PUBLIC) <= set(dir(cgexec))


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_say_that_they_are_cgexecs(name):
    assert getattr(cgexec, name).__module__ == "cgexec"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'limit'"):
        cgexec.limit  # noqa: B018


def _in_fresh_interpreter(code):
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stderr == ""
    return json.loads(result.stdout)


AUDIT = """
import concurrent.futures.thread, sys, threading
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
before = set(sys.modules)
import cgexec
{use}
odd = [name for name in opened if not name.endswith((".py", ".pyc")) and ("/proc" in name or "/sys" in name)]
loaded = sorted(set(sys.modules) - before)
import json
print(json.dumps([loaded, odd, threading.active_count()]))
"""


HEAVY = {"psutil", "asyncio", "argparse", "json", "ctypes", "multiprocessing", "subprocess"}


def test_importing_reads_no_kernel_file_starts_no_thread_and_loads_no_module_of_ours_but_one():
    loaded, odd, threads = _in_fresh_interpreter(AUDIT.format(use=""))
    assert odd == []
    assert threads == 1
    assert [name for name in loaded if name.startswith("cgexec")] == ["cgexec"]
    assert not HEAVY & set(loaded)


def test_using_everything_loads_no_optional_package_on_linux():
    use = "cgexec.recommend().explain(); cgexec.limits(); cgexec.usage(); cgexec.parse_quantity('1Gi')"
    loaded, _, threads = _in_fresh_interpreter(AUDIT.format(use=use))
    assert threads == 1
    assert sys.platform != "linux" or not HEAVY & set(loaded)


def test_the_type_marker_is_shipped():
    assert (Path(cgexec.__file__).parent / "py.typed").exists()


def test_the_version_is_the_one_of_the_distribution():
    from importlib.metadata import version

    assert cgexec.__version__ == version("cgexec")


def test_no_script_takes_the_name_of_libcgroups_command():
    from importlib.metadata import distribution

    scripts = {entry.name for entry in distribution("cgexec").entry_points if entry.group == "console_scripts"}
    assert scripts == {"cgexec-py"}
