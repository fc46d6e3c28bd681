"""
How the pages are built: ``python -m sphinx -W -c docs . build/docs``.

The source folder is the repository, not docs/: pages link to the README and to examples, and so one and the same
relative link works here and where the repository is browsed. For that reason too no page has a directive in it, which
elsewhere would be shown as code: the order of the pages is taken from the lists of links in docs/index.md, and the
docstrings are put below docs/reference/api.md here.
"""

import re
from importlib.metadata import version as version_of
from pathlib import Path
from posixpath import join, normpath

from sphinx.application import Sphinx

project = "cgexec"
author = copyright = "The cgexec authors"  # noqa: A001  # Sphinx's name
release = version = version_of("cgexec")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
autodoc_member_order = "alphabetical"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
default_role = "py:obj"  # a name in backticks is a link where there is one
napoleon_use_ivar = True
myst_heading_anchors = 3
root_doc = "docs/index"
include_patterns = ["*.md", "docs/*.md", "docs/**/*.md", "examples/**/README.md"]
exclude_patterns = [".*", "build", "dist"]

html_theme = "furo"
html_title = "cgexec"
html_favicon = "images/icon.svg"
pygments_style = "friendly"  # in a diff what is removed is red and what is added is green, in light as in dark
html_copy_source = False
html_extra_path = ["_site"]  # index.html, which leads to the root document
templates_path: list[str] = []

PUBLIC = (
    "cgexec",
    "cgexec.asyncio",
    "cgexec.anyio",
    "cgexec.starlette",
    "cgexec.distributed",
    "cgexec.metrics.prometheus",
    "cgexec.metrics.opentelemetry",
    "cgexec.testing",
)

_SECTION = re.compile(r"^## (?P<caption>.+?)\n(?P<body>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_ENTRY = re.compile(r"^- \[(?P<title>[^\]]+)\]\((?P<target>[^)#]+)\.md\)", re.MULTILINE)


def add_toctrees(_app: Sphinx, name: str, source: list[str]) -> None:
    """Append to the index a hidden table of contents for each of its sections."""
    if name != root_doc:
        return
    folder = Path(root_doc).parent.as_posix()
    for section in _SECTION.finditer(source[0]):
        entries = _ENTRY.finditer(section["body"])
        pages = [f"{entry['title']} </{normpath(join(folder, entry['target']))}>" for entry in entries]
        options = (":hidden:", f":caption: {section['caption']}")
        source[0] += "\n".join(["", "```{toctree}", *options, "", *pages, "```", ""])


def add_docstrings(_app: Sphinx, name: str, source: list[str]) -> None:
    """Append to the page of the API every public module, with what its ``__all__`` names."""
    if name != "docs/reference/api":
        return
    for module in PUBLIC:
        options = (
            ":members:",
            ":inherited-members: BaseException,Executor,ThreadPoolExecutor,tuple",
            ":show-inheritance:",
        )
        source[0] += "\n".join(["", f"## {module}", "", "```{eval-rst}", f".. automodule:: {module}"])
        source[0] += "\n".join(["", *(f"   {option}" for option in options), "```", ""])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", add_docstrings)
    app.connect("source-read", add_toctrees)
