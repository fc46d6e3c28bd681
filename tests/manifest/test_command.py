"""``python -m cgexec manifest`` as it is called: files, exit status, and what is said of a wrong call."""

import io
import subprocess
import sys

import pytest

pytest.importorskip("yaml", reason='needs PyYAML: pip install "cgexec[k8s]"')

from cgexec._cli import main
from cgexec._manifest.document import MOST_BYTES
from support.manifests import GOOD, RESOURCES, deployment


def test_the_exit_status_follows_the_level_and_what_is_ignored(check):
    text = deployment(RESOURCES.format("1", "1Gi", 2, "4Gi"))
    assert check(text)[0] == 1
    assert check(text, "--fail-on", "error")[0] == 0
    assert check(text, "--ignore", "memory-limit-far-above-request")[0] == 0
    assert check(text, "--ignore", "memory-limit-far-above-request", "--fail-on", "note")[0] == 1
    assert check(text, "--fail-on", "never")[0] == 0


def test_only_the_named_containers(check, capsys):
    text = deployment(GOOD) + "        - name: istio-proxy\n"
    assert check(text)[0] == 1
    status, printed = check(text, "--container", "web")
    assert (status, [one["name"] for one in printed["pods"][0]["containers"]]) == (0, ["web"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ignore", "nothing"], "--ignore nothing: expected one of bad-quantity"),
        (["--node", "cpu=8"], "expected both cpu= and memory="),
        (["--node", "cpu=8,memory=1Gi,disk=1Ti"], "expected cpu=...,memory=..., such as"),
        (["--node", "cpu=8,cpu=8"], "expected cpu=...,memory=..., such as"),
        (["--node", "cpu=0,memory=1Gi"], "--node cpu=0: expected a number of CPUs above 0"),
        (["--node", "cpu=8,memory=lots"], "--node memory: expected a quantity"),
        (["--node", "cpu=-1,memory=1Gi"], "--node cpu=-1"),
        (["--node", "cpu=8,memory=100Ki"], "--node memory='100Ki' is 100 KiB; expected at least 1 MiB\n"),
        (["--container", "nobody"], "no container has that name"),
        (["--memory-per-task", "200"], "is 200 B; expected at least 1 KiB"),
        (["--io-ratio", "1.5"], "expected a share from 0 to 1"),
    ],
)
def test_a_wrong_call_is_status_two_and_one_line(tmp_path, capsys, words, said):
    path = tmp_path / "app.yaml"
    path.write_text(deployment(GOOD))
    assert main(["manifest", str(path), *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_files_that_are_none(tmp_path, capsys):
    assert main(["manifest", str(tmp_path / "none.yaml")]) == 2
    assert "No such file" in capsys.readouterr().err
    assert main(["manifest", str(tmp_path)]) == 2
    assert "Is a directory" in capsys.readouterr().err
    empty = tmp_path / "empty.yaml"
    empty.write_text("---\n---\n")
    assert main(["manifest", str(empty)]) == 2
    assert "nothing in it has containers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: RayCluster\nspec: {headGroupSpec: {}}\n---\nkind: ConfigMap\n", "; there is only ConfigMap, RayCluster\n"),
        ("kind: List\nitems: [{kind: Workflow}, {kind: Workflow}]\n", "; there is only Workflow\n"),
        ("a: 1\n", "containers\n"),
        ("---\n".join(f"kind: Kind{n}{'x' * 99}\n" for n in range(10)), "x and 2 more kinds\n"),
    ],
    ids=["documents", "list", "no-kind", "many"],
)  # fmt: skip
def test_kinds_without_containers_are_named(tmp_path, capsys, text, said):
    path = tmp_path / "app.yaml"
    path.write_text(text)
    assert main(["manifest", str(path)]) == 2
    error = capsys.readouterr().err
    assert "app.yaml: nothing in it has containers" in error
    assert error.endswith(said)


class Endless(io.RawIOBase):
    """Zeros without end; a reader that wants them all gets an error before the machine is full."""

    given = 0

    def readable(self):
        return True

    def readinto(self, buffer):
        self.given += len(buffer)
        if self.given > 2 * MOST_BYTES:
            raise OSError("still reading")
        return len(buffer)


def test_what_never_ends_is_read_as_far_as_a_manifest_goes(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(Endless())))
    assert main(["manifest", "-"]) == 2
    assert capsys.readouterr().err == "cgexec-py: error: <stdin>: a manifest has at most 64 MiB, this has more\n"


def test_a_file_that_never_ends_is_read_so_far_too():
    resource = pytest.importorskip("resource", reason="needs limits of a process")
    code = "import sys; from cgexec._cli import main; sys.exit(main(['manifest', '/dev/zero']))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30)),
    )  # fmt: skip
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "/dev/zero: a manifest has at most 64 MiB" in result.stderr


def test_standard_input_and_text_of_80_columns(monkeypatch, capsys):
    stdin = io.TextIOWrapper(io.BytesIO(deployment(RESOURCES.format("100m", "1Gi", "500m", "4Gi")).encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert main(["manifest", "-", "--node", "cpu=8,memory=32Gi"]) == 1
    text = capsys.readouterr().out
    assert text.startswith("<stdin>:7: Deployment shop/api, container web\n")
    assert "[memory-limit-far-above-request]" in text
    assert "32 such fit a node" in text
    assert max(map(len, text.split("\n"))) <= 80


def test_what_names_hold_does_not_reach_the_terminal(tmp_path, capsys):
    """Nor a CI's log, which takes a line of "::error::" for an order."""
    path = tmp_path / "pod.yaml"
    odd = r"a\e[31m\n::error::x\u202e"
    env = f'[{{name: "{odd}", value: 1}}]'
    path.write_text(
        f'kind: "{odd}"\nmetadata: {{name: "{odd}", namespace: "{odd}"}}\n'
        f'spec: {{containers: [{{name: "{odd}", env: {env}, resources: {{limits: {{cpu: "{odd}"}}}}}}]}}\n'
    )
    main(["manifest", str(path), "--node", "cpu=8,memory=32Gi"])
    printed = capsys.readouterr().out
    assert "container a?[31m?::error::x?" in printed
    assert not any(line.startswith("::") for line in printed.split("\n"))
    assert not [letter for letter in printed if letter != "\n" and not letter.isprintable()]
    path.write_text(f'kind: "{odd}"\n')
    assert main(["manifest", str(path)]) == 2
    assert capsys.readouterr().err.removesuffix("\n").isprintable()


def test_without_pyyaml_it_names_the_command(tmp_path):
    path = tmp_path / "app.yaml"
    path.write_text(deployment(GOOD))
    code = "import sys; sys.modules['yaml'] = None; from cgexec._cli import main; sys.exit(main(sys.argv[1:]))"
    result = subprocess.run(
        [sys.executable, "-c", code, "manifest", str(path)], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 2
    assert result.stderr == 'cgexec-py: error: manifest needs PyYAML: pip install "cgexec[k8s]"\n'
