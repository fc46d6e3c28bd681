"""Looks at an installed cgexec that nothing else stands beside: every module, the marker for types, one pool."""

import importlib
import pkgutil
from pathlib import Path

import cgexec

# What these import is optional; without it they say which extra to install.
OPTIONAL = ("cgexec.anyio", "cgexec.starlette", "cgexec.distributed", "cgexec.metrics", "cgexec._limiter")

home = Path(cgexec.__file__).parent
assert "site-packages" in home.parts, f"{home} is not installed"
assert (home / "py.typed").is_file(), "type checkers take no notice of it"
missing = []
for module in pkgutil.walk_packages(cgexec.__path__, "cgexec."):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        missing.append(f"{module.name}: {error}")
assert all(each.startswith(OPTIONAL) for each in missing), missing
with cgexec.ThreadPoolExecutor() as pool:
    assert pool.submit(pow, 2, 10).result(10) == 1024
print(f"{cgexec.recommend().explain().splitlines()[0]}; {len(missing)} modules want an extra")
