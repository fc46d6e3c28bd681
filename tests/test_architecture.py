"""Data flows one way: a module imports only from what stands before it in this list."""

import ast
import re
from pathlib import Path

import pytest

import cgexec

ROOT = Path(cgexec.__file__).parent

# One set a layer; modules of one layer are strangers to one another. A name ending in a dot is a whole package whose
# own order stands in `INSIDE`.
LAYERS = [
    {"_quantity", "_extras", "_signals", "_plain"},
    {"_environ", "_kernel."},
    {"_snapshot"},
    {"_limits", "_usage"},
    {"_workload", "_told", "_naming"},
    {"_sizing", "_memory."},
    {"_explain", "_advice"},
    {"_recommend"},
    {"_flight."},
    {"_manifest."},
    {"_adaptive."},
    {"_errors", "_leftovers", "_settings"},
    {"_pool."},
    {"_off", "_options", "_bridge", "_limiter"},
    {"_executor", "_wrap", "_cluster"},
    {"anyio", "asyncio", "distributed", "testing"},
    {"starlette"},
    {"_demo."},
    {"__init__"},
    {"metrics."},
    {"_watch.", "_profile."},
    {"_cli."},
    {"__main__"},
]
INSIDE = {
    "_kernel.": [{"parse", "locate"}, {"files"}, {"windows", "kept"}, {"levels", "host"}, {"__init__"}],
    "_memory.": [
        {"functions", "siblings", "aimd", "allocator", "thrash", "most", "growth", "lasting"},
        {"footprints"},
        {"gauge", "departures", "corrections"},
        {"spikes", "gap"},
        {"learning", "relief", "cap", "reusable", "cadence", "headroom"},
        {"planner"},
        {"fuse"},
        {"__init__"},
    ],
    "_adaptive.": [
        {"samples", "decisions", "asking", "bounds", "clocks", "gauge", "profile"},
        {"pace", "reasons"},
        {"calm", "lock", "trials"},
        {"controller"},
        {"projection"},
        {"__init__"},
    ],
    "_pool.": [
        {"task", "weakly", "parting", "lulls", "log"},
        {"records", "expiring", "price"},
        {"guard"},
        {"books"},
        {"admission"},
        {"taken"},
        {"lines", "sizes", "endings", "holding", "mending", "here", "look"},
        {"roster"},
        {"served"},
        {"life", "overdue", "mapping", "relayed", "apart", "beginning", "patience"},
        {"crowd"},
        {"ticker", "reports", "serving", "recording"},
        {"flight", "relieving"},
        {"hands"},
        {"crew", "inner", "adapting"},
        {"relay"},
        {"shares"},
        {"scene"},
        {"watch"},
        {"saturation"},
        {"door", "draining", "stock_names"},
        {"awaiting"},
        {"streaming"},
        {"front"},
        {"__init__"},
    ],
    "_flight.": [{"layout"}, {"recorder", "words"}, {"__init__"}],
    "_manifest.": [
        {"document", "servers", "blocks"},
        {"resources"},
        {"variables"},
        {"workloads"},
        {"sizing"},
        {"rules", "packing"},
        {"output"},
        {"__init__"},
    ],
    "metrics.": [{"_table"}, {"_watched"}, {"prometheus", "opentelemetry"}, {"__init__"}],
    "_profile.": [{"child", "evaluate"}, {"measure", "report", "plot"}, {"__init__"}],
    "_watch.": [{"source", "frame"}, {"draw"}, {"__init__"}],
    "_cli.": [
        {"stated", "fold", "formats", "threads", "compare", "processes", "seconds", "decided"},
        {"report", "manifest", "watch", "profile", "demo"},
        {"main"},
        {"__init__"},
    ],
    "_demo.": [{"work", "rlimit"}, {"arena", "child"}, {"contest"}, {"show", "plot"}, {"__init__"}],
}


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


MODULES = sorted(module_name(path) for path in ROOT.rglob("*.py"))


def rank(module):
    """Return the module's place: its layer, and inside a package the layer there."""
    package, _, inner = module.rpartition(".")
    key = f"{package}." if package else module
    layer = next((n for n, names in enumerate(LAYERS) if key in names), None)
    assert layer is not None, f"{module} stands in no layer: give it a place in LAYERS"
    if not package:
        return (layer, 0)
    place = next((n for n, names in enumerate(INSIDE[key]) if inner in names), None)
    assert place is not None, f"{module} stands in no layer: give it a place in INSIDE"
    return (layer, place)


def imported(module):
    """Yield what *module* imports of this package when it runs; imports for types alone do not count."""
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "cgexec":
            yield from _named(node)
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("cgexec") for alias in node.names), (
                f"{module}: import names, not cgexec"
            )


def _named(node):
    base = node.module.removeprefix("cgexec").strip(".")
    for alias in node.names:
        inner = f"{base}.{alias.name}".strip(".")
        if inner in MODULES:
            yield inner
        elif base:
            yield base if base in MODULES else f"{base}.__init__"
        elif alias.name != "__version__":
            yield "__init__"


@pytest.mark.parametrize("module", MODULES)
def test_no_import_against_the_arrow(module):
    for other in imported(module):
        assert rank(other) < rank(module), f"{module} imports {other}, which does not stand before it"


def test_the_front_door_only_names_homes():
    assert set(cgexec._HOMES) == set(cgexec.__all__)
    assert all(home.removeprefix("cgexec.") in MODULES for home in cgexec._HOMES.values())


def test_optional_packages_are_not_imported_at_module_level():
    for module in MODULES:
        tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
        names = {
            (alias.name if isinstance(node, ast.Import) else node.module or "").split(".")[0]
            for node in tree.body
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for alias in node.names
        }
        assert not names & {
            "psutil",
            "yaml",
            "rich",
            "matplotlib",
            "anyio",
            "starlette",
            "prometheus_client",
            "opentelemetry",
            "distributed",
        }


def test_only_one_module_opens_kernel_files_and_one_asks_for_the_platform():
    for path in ROOT.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert ("os.open(" in text) <= (
            module_name(path) in ("_kernel.files", "_kernel.kept", "_cli.main", "_flight.recorder")
        ), path
        assert ("sys.platform" in text) <= (module_name(path) == "_kernel.host"), path


def test_every_line_of_the_log_begins_with_an_event_that_the_reference_explains():
    reference = (ROOT.parent.parent / "docs/reference/log.md").read_text(encoding="utf-8")
    events = set()
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = node.func.value
                if isinstance(owner, ast.Name) and owner.id == "_LOGGER" and node.func.attr != "isEnabledFor":
                    event = re.match(r"\[([a-z-]+)\] ", node.args[0].value)
                    assert event, f"{path}:{node.lineno}: begin with an [event] name"
                    events.add(event[1])
    assert events == set(re.findall(r"^\| `([a-z-]+)` \|", reference, re.MULTILINE))


def test_files_stay_small():
    long = [path.name for path in ROOT.rglob("*.py") if len(path.read_text(encoding="utf-8").split("\n")) > 400]
    assert long == []
