"""A clock that is set back or forward changes nothing: what waits, expires or is measured goes by monotonic time."""

import ast
from pathlib import Path

import cgexec

SOURCE = Path(cgexec.__file__).parent
# Where the CPU time of a thread is asked for by the number of its clock.
CPU_TIME = {"_adaptive/clocks.py"}
# Where the time of day is told to people, or to programs elsewhere.
TOLD = {"_cli/watch.py", "_flight/words.py", "_pool/recording.py", "_pool/served.py"}
WALL = {"time", "time_ns", "localtime", "gmtime", "strftime", "ctime", "asctime", "mktime", "clock_gettime"}


def wall_clocks(source):
    """Return whether a module asks for the time of day, or could: `time` names such a function, or datetime is used."""
    found = False
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            names = {alias.name for alias in node.names}
            found |= node.module == "datetime" or (node.module == "time" and bool(names & (WALL | {"*"})))
        elif isinstance(node, ast.Import):
            found |= any(alias.name == "datetime" or (alias.name == "time" and alias.asname) for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found |= node.value.id == "time" and node.attr in WALL
    return found


def test_only_what_is_told_goes_by_the_time_of_day():
    asking = {
        path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py") if wall_clocks(path.read_text("utf-8"))
    }
    assert asking == TOLD | CPU_TIME


def test_each_way_to_ask_is_found():
    for source in (
        "import time; time.time()", "from time import time", "from time import time as now", "import time as t",
        "from datetime import datetime", "import datetime", "import time; f(time.time_ns)",
    ):  # fmt: skip
        assert wall_clocks(source), source
    for source in ("import time; time.monotonic(); time.sleep(1)", "from time import monotonic, process_time"):
        assert not wall_clocks(source), source
