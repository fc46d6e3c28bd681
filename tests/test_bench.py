"""What the benches share: tables put into pages, and what is read out of them."""

import importlib
import re
import sys
from pathlib import Path

import growth
import into_docs
import peers
import pytest

PROJECT = Path(__file__).parents[1]


def test_a_table_takes_the_place_of_the_one_before(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n\n<!-- measured: it -->\n\nold\n\n<!-- end: it -->\n\nafter\n")
    into_docs.put(page, "it", r"| new \1 |")
    into_docs.put(page, "it", r"| newer \1 |")
    assert page.read_text() == "before\n\n<!-- measured: it -->\n\n| newer \\1 |\n\n<!-- end: it -->\n\nafter\n"


def test_a_page_without_the_marks_is_refused_and_left_as_it_is(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    with pytest.raises(ValueError, match=r"expected the marks .*found 0"):
        into_docs.put(page, "it", "text")
    assert page.read_text() == "nothing\n"


def test_every_mark_in_the_docs_has_its_end_and_the_command_that_makes_it():
    found = 0
    for page in (PROJECT / "docs").rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"<!-- measured: (\w+) -->", text):
            found += 1
            assert text.count(f"<!-- end: {name} -->") == 1, page
            assert f"bench/{name}.py" in text, f"{page} shows the figures of {name} without its command"
    assert found > 2


def test_peers_are_measured_in_turns_and_those_that_are_not_there_are_named(monkeypatch):
    monkeypatch.setattr(peers, "POOLS", {name: peers.POOLS[name] for name in ("standard", "cgexec", "futurist")})
    monkeypatch.setitem(sys.modules, "futurist", None)
    text = peers.table(rounds=1, scale=0.01)
    assert re.search(r"^\| standard \| 1.00 \| 1.00 \| 1.00 \| 1.00 \|$", text, re.MULTILINE)
    assert re.search(r"^\| futurist \| not there: .*futurist", text, re.MULTILINE)
    everything = importlib.import_module("all")
    assert set(everything.ratios(f"## bench/peers.py\n\n{text}\n\n## bench/wrap.py\n")) == {"standard", "cgexec"}


def test_growth_is_measured_for_each_size(monkeypatch):
    monkeypatch.setattr(growth, "WORKERS", (1, 2))
    monkeypatch.setattr(growth, "POOLS", (1, 2))
    monkeypatch.setattr(growth, "DEPTHS", (1, 3))
    monkeypatch.setattr(growth, "TASKS", 20)
    found = growth.rows(rounds=1, most=10)
    assert [number for _, number, _ in found] == ["1", "2", "10", "1", "2", "1", "2", "10", "1", "3", "1", "3"]
