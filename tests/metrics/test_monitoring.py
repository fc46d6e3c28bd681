"""The alerts and the dashboard that come along: they name metrics there are, and Prometheus takes them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cgexec.metrics._table import every, prometheus_name

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "examples/alerts.yaml"
BOARD = json.loads((ROOT / "examples/grafana.json").read_text(encoding="utf-8"))
NAMES = {prometheus_name(row) for row in every()}
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]


def promtool(*words, cwd):
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("needs promtool (Debian: package prometheus)")
    result = subprocess.run([tool, *words], capture_output=True, text=True, timeout=60, cwd=cwd)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def used(text):
    return set(re.findall(r"\bcgexec_[a-z_]+", text))


def test_alerts_and_dashboard_name_metrics_that_there_are():
    assert used(ALERTS.read_text(encoding="utf-8")) <= NAMES
    assert used(json.dumps(BOARD)) <= NAMES


def test_the_alerts_are_valid_and_fire_when_they_should():
    assert "10 rules found" in promtool("check", "rules", str(ALERTS), cwd=ROOT)
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yaml", cwd=Path(__file__).parent)


def test_every_alert_has_a_paragraph_in_the_runbook():
    names = re.findall(r"- alert: (\w+)", ALERTS.read_text(encoding="utf-8"))
    runbook = (ROOT / "docs/howto/alerts.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (Cgexec\w+)$", runbook, re.MULTILINE) == names


def test_the_dashboards_queries_are_valid(tmp_path):
    rules = [
        {"record": f"panel:{n}", "expr": expression.replace("$__rate_interval", "5m")}
        for n, expression in enumerate([*EXPRESSIONS, *(one["expr"] for one in BOARD["annotations"]["list"])])
    ]
    file = tmp_path / "rules.yaml"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(file), cwd=tmp_path)


def test_the_dashboards_panels_say_what_they_show_and_do_not_overlap():
    taken = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }  # fmt: skip
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    for panel in PANELS:
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def test_the_reference_lists_every_metric():
    reference = (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8")
    for row in every():
        labels = ", ".join(f"`{label}`" for label in row.labels) or "-"
        line = f"| `{prometheus_name(row)}` | {row.help} | {row.kind} | `{row.unit}` | {labels} | `cgexec.{row.name}` |"
        assert line in reference, line
