"""The pages: they are built without a warning, every one is reachable, and every link leads somewhere in both places."""

import http.server
import importlib
import importlib.util
import os
import pkgutil
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

import cgexec
from support.browser import after_scripts

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "cgexec"
PROPER = ("_kernel", "_memory", "_adaptive", "_pool")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
# What builds the pages, and what the modules import whose docstrings they show.
BUILDERS = ("sphinx", "myst_parser", "furo", "anyio", "distributed", "opentelemetry", "prometheus_client", "starlette")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the pages as built; a warning, such as for a link to nowhere, is an error."""
    missing = [name for name in BUILDERS if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f'needs {", ".join(missing)}: pip install -e ".[docs]"')
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", "docs", "-d", str(folder / "doctrees")]
    done = subprocess.run([*command, ".", str(folder / "html")], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_every_page_is_built_and_listed(site):
    index = (site / "docs/index.html").read_text(encoding="utf-8")
    for page in PAGES:
        built = page.relative_to(ROOT).with_suffix(".html")
        assert (site / built).is_file()
        assert f'href="{os.path.relpath(built, "docs")}"' in index or built.name == "index.html"


def test_the_page_of_the_api_has_every_public_name(site):
    page = (site / "docs/reference/api.html").read_text(encoding="utf-8")
    modules = [each.name for each in pkgutil.walk_packages(cgexec.__path__, "cgexec.") if "._" not in each.name]
    for module in ("cgexec", *modules):
        for name in getattr(importlib.import_module(module), "__all__", ()):
            assert f'id="{module}.{name}"' in page


def test_the_first_page_leads_to_the_index(site):
    target = re.search(r'url=([^"]+)', (site / "index.html").read_text(encoding="utf-8"))
    assert (site / target[1]).is_file()


@contextmanager
def served(folder):
    """Serve the folder over HTTP; what could not be answered is in the list."""
    refused = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def send_error(self, code, *args, **more):
            refused.append(self.path)
            super().send_error(code, *args, **more)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", refused
        finally:
            server.shutdown()
            thread.join(10)


ALL_PAGES = """<!doctype html><link rel="icon" href="data:,"><script>
addEventListener("load", () => {
  for (const frame of document.querySelectorAll("iframe"))
    frame.insertAdjacentText("afterend", `${frame.getAttribute("src")} shows ${frame.contentDocument.title}\n`);
});
</script>"""


def test_every_page_opens_in_a_browser_without_errors(site, tmp_path):
    pages = sorted(str(page.relative_to(site)) for page in site.rglob("*.html") if page.parent != site / "_static")
    frames = "\n".join(f'<iframe src="{page}"></iframe>' for page in pages if page != "index.html")
    (site / "_static/all.html").write_text(ALL_PAGES.replace("<script>", '<base href="../"><script>') + frames)
    with served(site) as (url, refused):
        seen, said = after_scripts(f"{url}/_static/all.html", tmp_path)
    assert [line for line in said.splitlines() if "CONSOLE" in line] == []
    assert refused == []
    for page in PAGES:
        title = re.search(r"^# (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)[1]
        assert f"{page.relative_to(ROOT).with_suffix('.html')} shows {title.replace('`', '')}" in seen


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    """Where the repository is browsed a relative link is a path; needs no Sphinx."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        assert "://" in target or (page.parent / target).exists(), target


def test_the_design_names_every_module_of_the_library_proper():
    """What leaves the library to others is said as a whole: a command, a recorder, metrics."""
    text = (ROOT / "docs" / "design.md").read_text()
    told = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]+)`", text))))
    proper = [*SOURCE.glob("_[a-z]*.py"), *(path for each in PROPER for path in (SOURCE / each).glob("[a-z]*.py"))]
    assert len(proper) > 100
    assert [path.stem for path in proper if path.stem not in told] == []
