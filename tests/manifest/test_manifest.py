"""``python -m cgexec manifest``: what containers would get, what is wrong with them, and the exit status."""

import io
import json
import subprocess
import sys
import textwrap

import pytest

pytest.importorskip("yaml", reason='needs PyYAML: pip install "cgexec[k8s]"')

import cgexec
from cgexec._cli import main
from cgexec._manifest.document import MOST_BYTES, read_documents
from cgexec._manifest.packing import node, pack
from cgexec._manifest.rules import RULES
from cgexec._manifest.servers import Asked, asked_by
from cgexec._manifest.workloads import pods
from support.values import make_limits, make_usage

GOOD = """\
resources:
  requests: {cpu: "1", memory: 3Gi}
  limits: {cpu: "2", memory: 4Gi}
env:
  - {name: MILLI, valueFrom: {resourceFieldRef: {containerName: web, resource: requests.cpu, divisor: 1m}}}
  - {name: CGEXEC_CPU_REQUEST, value: "$(MILLI)m"}
  - {name: CGEXEC_MEMORY_REQUEST, valueFrom: {resourceFieldRef: {resource: requests.memory}}}
"""


def deployment(container, spec="", kind="Deployment"):
    """Return a manifest of one container, whose fields are given as YAML."""
    head = f"kind: {kind}\nmetadata: {{name: api, namespace: shop}}\nspec:\n  template:\n    spec:\n"
    body = textwrap.indent(spec, " " * 6) + " " * 6 + "containers:\n" + " " * 8 + "- name: web\n"
    return head + body + textwrap.indent(container, " " * 10)


@pytest.fixture
def check(tmp_path, capsys):
    """Write a manifest and run the command on it; return exit status and what it printed, read from JSON."""

    def run(text, *words):
        path = tmp_path / "app.yaml"
        path.write_text(text)
        status = main(["manifest", str(path), "--json", *words])
        captured = capsys.readouterr()
        assert captured.err == ""
        return status, json.loads(captured.out)

    return run


def findings(printed):
    return {found["rule"]: found for pod in printed["pods"] for one in pod["containers"] for found in one["findings"]}


def test_a_good_container_has_nothing_wrong(check):
    status, printed = check(deployment(GOOD))
    assert (status, findings(printed)) == (0, {})
    (container,) = printed["pods"][0]["containers"]
    assert (container["workers"], container["bound_by"]) == (8, "cpu")


def test_it_is_the_number_that_recommend_gives_inside(check):
    _, printed = check(deployment(GOOD), "--memory-per-task", "500Mi", "--io-ratio", "0.9", "--held", "300Mi")
    inside = cgexec.recommend(
        memory_per_task="500Mi",
        io_ratio=0.9,
        limits=make_limits(),
        usage=make_usage(process_bytes=300 << 20),
    )
    assert printed["pods"][0]["containers"][0]["workers"] == inside.max_workers == 6


RESOURCES = "resources: {{requests: {{cpu: {0}, memory: {1}}}, limits: {{cpu: {2}, memory: {3}}}}}\n"


@pytest.mark.parametrize(
    ("rule", "level", "container", "words", "line"),
    [
        ("bad-quantity", "error", RESOURCES.format(1, "1gb", 2, "4Gi"), "unknown suffix 'gb'", 8),
        ("bad-quantity", "error", RESOURCES.format(1, "256Mi", 2, "512m"), 'Docker\'s 512m is "512Mi" here', 8),
        ("bad-quantity", "error", RESOURCES.format(1, "256Mi", 2, "512"), 'for mebibytes write "512Mi"', 8),
        ("request-above-limit", "error", RESOURCES.format(3, "1Gi", 2, "2Gi"), "requests.cpu 3 is above limits.cpu 2", 8),
        ("env-not-a-string", "error", "env:\n- name: DEBUG\n  value: 1\n", 'write "1"', 10),
        ("bad-variable", "error", "env: [{name: CGEXEC_CPUS, value: many}]\n", "CGEXEC_CPUS='many'", 8),
        ("no-memory-limit", "warning", "resources: {requests: {cpu: 1}, limits: {cpu: 1}}\n", "the node's memory", 7),
        ("no-cpu-limit", "note", "resources: {limits: {memory: 1Gi}}\n", "the node's CPUs", 7),
        ("no-requests", "warning", "image: x\n", "BestEffort", 7),
        ("memory-limit-far-above-request", "warning", RESOURCES.format(1, "1Gi", 2, "4Gi"), "4 times the request", 8),
        ("cpu-limit-far-above-request", "note", RESOURCES.format("100m", "3Gi", 2, "4Gi"), "20 times the request", 8),
        ("quota-below-one-cpu", "warning", RESOURCES.format("400m", "1Gi", "500m", "2Gi"), "50 ms of each 100 ms", 8),
        ("threads-above-limit", "warning", GOOD + "  - {name: OMP_NUM_THREADS, value: '8'}\n", "2 is right", 15),
        ("threads-above-limit", "warning", GOOD + "  - {name: APP_MAX_WORKERS, value: '5000'}\n", "at most 1000", 15),
        ("processes-not-told", "warning", GOOD + "args: [gunicorn, -w, '4', app]\n", "starts 4 processes", 7),
        ("requests-not-told", "note", RESOURCES.format(1, "3Gi", 2, "4Gi"), "the downward API tells them", 7),
        (
            "wrong-request-told",
            "warning",
            RESOURCES.format("100m", "3Gi", 2, "4Gi")
            + "env: [{name: CGEXEC_CPU_REQUEST, valueFrom: {resourceFieldRef: {resource: requests.cpu}}}]\n",
            "will say 1 CPU, but the CPU request is 0.1 CPU",
            9,
        ),
        (
            "wrong-request-told",
            "warning",
            RESOURCES.format("1", "3Gi", 2, "4Gi")
            + "env: [{name: CGEXEC_MEMORY_REQUEST, valueFrom: {resourceFieldRef: {resource: limits.memory}}}]\n",
            "will say 4 GiB, but the memory request is 3 GiB",
            9,
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found_where_it_stands(check, rule, level, container, words, line):
    status, printed = check(deployment(container))
    found = findings(printed)[rule]
    assert words in found["text"]
    assert (found["level"], found["line"]) == (level, line)
    assert status == 1 or level == "note"


def test_the_rules_about_tasks_need_to_be_told_of_them(check):
    text = deployment(GOOD + "args: ['gunicorn --workers=4 --threads 8 app']\n", "terminationGracePeriodSeconds: 60\n")
    assert {"memory-over-limit", "grace-shorter-than-tasks"}.isdisjoint(findings(check(text)[1]))
    found = findings(check(text, "--memory-per-task", "200Mi", "--task-seconds", "300")[1])
    assert "4 processes x 8 workers x 200 MiB come to 6.2 GiB" in found["memory-over-limit"]["text"]
    assert "has 60 s, a task takes 300 s" in found["grace-shorter-than-tasks"]["text"]
    assert found["grace-shorter-than-tasks"]["line"] == 6
    assert "not even one task" in findings(check(text, "--memory-per-task", "2Gi")[1])["memory-over-limit"]["text"]


def test_every_rule_is_tested_here():
    with open(__file__) as file:
        text = file.read()
    assert [rule for rule in RULES if f'"{rule}"' not in text] == []


def test_the_block_to_paste_is_yaml_that_cures(check):
    text = deployment(RESOURCES.format("250m", "3Gi", "2", "4Gi"))
    fix = findings(check(text)[1])["requests-not-told"]["fix"]
    cured = findings(check(deployment(RESOURCES.format("250m", "3Gi", "2", "4Gi") + fix + "\n"))[1])
    assert {"requests-not-told", "wrong-request-told"}.isdisjoint(cured)


def test_a_request_that_is_not_written_is_the_limit(check):
    _, printed = check(deployment("resources: {limits: {cpu: 2, memory: 4Gi}}\n"))
    assert printed["pods"][0]["containers"][0]["resources"]["requests.cpu"] == 2
    assert {"no-requests", "memory-limit-far-above-request"}.isdisjoint(findings(printed))


def test_variables_are_what_the_container_would_see(check):
    env = 'env: [{name: N, value: "7"}, {name: CGEXEC_FORCE_MAX_WORKERS, value: $(N)}, {name: LIT, value: $$(N)}]\n'
    (container,) = check(deployment(GOOD.partition("env:")[0] + env))[1]["pods"][0]["containers"]
    assert (container["workers"], container["workers_source"]) == (7, "CGEXEC_FORCE_MAX_WORKERS")
    secret = "env: [{name: CGEXEC_CPUS, valueFrom: {secretKeyRef: {name: s, key: k}}}]\n"
    (container,) = check(deployment(GOOD.partition("env:")[0] + secret))[1]["pods"][0]["containers"]
    assert container["workers"] == 8


POD = "spec:\n  containers: [{name: a, resources: {limits: {cpu: 1, memory: 1Gi}}}]\n"
CRON = """\
kind: CronJob
metadata: {name: nightly}
spec:
  jobTemplate:
    spec:
      activeDeadlineSeconds: 60
      template:
        spec: {containers: [{name: a}]}
"""
# What kustomize prints: several documents, keys in order, no comments.
KUSTOMIZED = """\
apiVersion: v1
data:
  KEY: value
kind: ConfigMap
metadata:
  name: settings-5m2b7d9k4t
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  labels:
    app: db
  name: db
spec:
  serviceName: db
  template:
    spec:
      containers:
      - envFrom:
        - configMapRef:
            name: settings-5m2b7d9k4t
        image: db:1
        name: db
        resources:
          limits:
            cpu: "1"
            memory: 1Gi
          requests:
            cpu: "1"
            memory: 1Gi
---
"""


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("kind: Pod\n" + POD, ["Pod"]),
        (CRON, ["CronJob"]),
        (KUSTOMIZED, ["StatefulSet"]),
        (
            deployment("image: x\n", kind="DaemonSet") + "---\n" + deployment("image: x\n", kind="Job"),
            ["DaemonSet", "Job"],
        ),
        ("kind: List\nitems:\n- kind: Pod\n" + textwrap.indent(POD, "  ") + "- kind: Service\n", ["Pod"]),
        ("kind: DeploymentList\nitems:\n-\n" + textwrap.indent(deployment("image: x\n"), "  "), ["Deployment"]),
        ("kind: PodTemplate\ntemplate: {spec: {containers: [{name: a}]}}\n", ["PodTemplate"]),
        (deployment("image: x\n", kind="Rollout"), ["Rollout"]),
    ],
    ids=["pod", "cronjob", "kustomize", "several", "list", "typed-list", "pod-template", "custom"],
)
def test_kinds(check, text, kinds):
    _, printed = check(text)
    assert [pod["kind"] for pod in printed["pods"]] == kinds


def test_a_deadline_before_the_end_of_a_task_is_an_error(check):
    found = findings(check(CRON, "--task-seconds", "300")[1])["deadline-shorter-than-tasks"]
    assert (found["level"], found["line"]) == ("error", 6)


def test_init_containers_and_sidecars(check):
    spec = (
        "initContainers:\n"
        "  - {name: once, resources: {requests: {cpu: 3, memory: 1Gi}}}\n"
        "  - {name: proxy, restartPolicy: Always, resources: {requests: {cpu: 500m, memory: 1Gi}}}\n"
    )
    text = deployment(RESOURCES.format(1, "1Gi", 2, "2Gi"), spec)
    _, printed = check(text, "--memory-per-task", "8Gi")
    assert [one["role"] for one in printed["pods"][0]["containers"]] == ["init", "sidecar", "main"]
    memory = {one["name"] for one in printed["pods"][0]["containers"] for found in one["findings"]
              if found["rule"] == "memory-over-limit"}  # fmt: skip
    assert memory == {"web"}
    # The init container asks for more than what runs together, so it decides: 3 CPUs of 8.
    (pod,) = pods(read_documents(text.encode(), "f")[0], "f")
    assert pack(pod, node("cpu=8,memory=100Gi"))[:2] == (2, "cpu")


def test_how_many_fit_a_node_and_how_far_limits_overcommit_it(check):
    text = deployment(RESOURCES.format("100m", "1Gi", 2, "4Gi"))
    _, printed = check(text, "--node", "cpu=8,memory=32Gi")
    assert printed["pods"][0]["node"] == {
        "pods": 32, "bound_by": "memory", "cpu_overcommit": 8.0, "memory_overcommit": 4.0,
    }  # fmt: skip
    _, printed = check(deployment("image: x\n"), "--node", "cpu=8,memory=32Gi")
    assert printed["pods"][0]["node"]["bound_by"] == "pods"
    assert printed["pods"][0]["containers"][0]["workers"] == 12


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
    prose = [line for line in text.split("\n") if "resourceFieldRef" not in line]
    assert max(map(len, prose)) <= 80


def test_without_pyyaml_it_names_the_command(tmp_path):
    path = tmp_path / "app.yaml"
    path.write_text(deployment(GOOD))
    code = "import sys; sys.modules['yaml'] = None; from cgexec._cli import main; sys.exit(main(sys.argv[1:]))"
    result = subprocess.run(
        [sys.executable, "-c", code, "manifest", str(path)], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 2
    assert result.stderr == 'cgexec-py: error: manifest needs PyYAML: pip install "cgexec[k8s]"\n'


@pytest.mark.parametrize(
    ("words", "env", "asked"),
    [
        (["gunicorn", "-w", "4", "--threads=8", "app"], {}, Asked("gunicorn", 4, 8)),
        (["/usr/bin/gunicorn", "-w4"], {}, Asked("gunicorn", 4, None)),
        (["gunicorn", "app"], {"GUNICORN_CMD_ARGS": "--workers 3"}, Asked("gunicorn", 3, None)),
        (["gunicorn", "-w", "2"], {"GUNICORN_CMD_ARGS": "--workers 3"}, Asked("gunicorn", 2, None)),
        (["uvicorn", "app:x", "--workers", "two"], {}, Asked("uvicorn", None, None)),
        (["celery", "-A", "x", "worker", "-c", "6"], {}, Asked("celery", 6, None)),
        (["celery", "-A", "x", "worker", "-P", "threads", "--concurrency=20"], {}, Asked("celery", None, 20)),
        (["python", "-m", "gunicorn", "-w"], {}, Asked("gunicorn", None, None)),
        (["python", "app.py", "-w", "4"], {}, Asked("", None, None)),
    ],
)
def test_what_a_server_is_told_to_start(words, env, asked):
    assert asked_by(words, env) == asked
