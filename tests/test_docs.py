"""The pages: they are built without a warning, every one is reachable, and every link leads somewhere in both places."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
BUILDERS = ("sphinx", "myst_parser", "furo")


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


def test_the_first_page_leads_to_the_index(site):
    target = re.search(r'url=([^"]+)', (site / "index.html").read_text(encoding="utf-8"))
    assert (site / target[1]).is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    """Where the repository is browsed a relative link is a path; needs no Sphinx."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        assert "://" in target or (page.parent / target).exists(), target
