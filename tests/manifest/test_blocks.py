"""The blocks to paste: a manifest in which they stand where the command says is one, and has less wrong with it."""

import re
import textwrap

import pytest

pytest.importorskip("yaml", reason='needs PyYAML: pip install "cgexec[k8s]"')

from cgexec._cli import main
from support.manifests import RESOURCES, deployment, findings

STARTS = RESOURCES.format("250m", "3Gi", "2", "4Gi") + "args: [gunicorn, -w, '4', app]\n"
WRONG_REQUEST = """\
env:
  - {name: REQUEST_MILLI, valueFrom: {resourceFieldRef: {resource: requests.cpu}}}
  - {name: CGEXEC_CPU_REQUEST, value: $(REQUEST_MILLI)}
"""
TOLD = {"processes-not-told", "requests-not-told", "wrong-request-told"}
PASTE, ADD = "paste into the container:", "add to the container's env:"
INSTEAD = "in the container's env, instead of "


def blocks(printed):
    """Yield each block that was printed, with what is to be done with it."""
    for found in re.finditer(r"^ {12}(\S.*:)\n((?: {14}.*\n)+)", printed, re.MULTILINE):
        if found[1].startswith((PASTE, ADD, INSTEAD)):
            yield found[1], textwrap.dedent(found[2])


def follow(container, where, block):
    """Do what is said with a container whose ``env`` is its last key, an entry a line."""
    if where == PASTE:
        return container + block
    entries = textwrap.indent(block, "  ")
    if where == ADD:
        return container + entries
    names = where.removeprefix(INSTEAD).removesuffix(":").split(", ")
    old = [line for line in container.splitlines(keepends=True) if re.search(rf"name: ({'|'.join(names)}),", line)]
    assert len(old) == len(names)
    for line in old[1:]:
        container = container.replace(line, "")
    return container.replace(old[0], entries)


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ("", [PASTE, ADD]),
        ("env:\n", [ADD, ADD]),
        ("env:\n  - {name: A, value: b}\n", [ADD, ADD]),
        ("env:\n  - {name: CGEXEC_PROCESSES, value: '2'}\n", [f"{INSTEAD}CGEXEC_PROCESSES:", ADD]),
        ("env:\n  - {name: WEB_CONCURRENCY, value: '2'}\n", [ADD, ADD]),
        (
            WRONG_REQUEST + "  - {name: CGEXEC_PROCESSES, value: '4'}\n",
            [f"{INSTEAD}REQUEST_MILLI, CGEXEC_CPU_REQUEST:", ADD],
        ),
    ],
    ids=["no-env", "null-env", "env", "other-number", "other-variable", "wrong-request"],
)
def test_a_manifest_is_valid_and_cured_once_the_blocks_are_pasted_as_told(tmp_path, capsys, check, env, told):
    container = STARTS + env
    assert TOLD & findings(check(deployment(container))[1]).keys()
    assert main(["manifest", str(tmp_path / "app.yaml")]) == 1
    found = list(blocks(capsys.readouterr().out))
    assert [where for where, _ in found] == told
    for where, block in found:
        container = follow(container, where, block)
    assert TOLD.isdisjoint(findings(check(deployment(container))[1]))
