"""What a manifest says about containers: kinds, defaults, variables, and what fits a node."""

import textwrap
from fractions import Fraction

import pytest

pytest.importorskip("yaml", reason='needs PyYAML: pip install "cgexec[k8s]"')

from cgexec._cli import main
from cgexec._manifest.document import read_documents
from cgexec._manifest.packing import node, pack
from cgexec._manifest.resources import amount
from cgexec._manifest.workloads import pods
from support.manifests import CRON, GOOD, RESOURCES, deployment, findings


def test_a_request_that_is_not_written_is_the_limit(check):
    _, printed = check(deployment("resources: {limits: {cpu: 2, memory: 4Gi}}\n"))
    assert printed["pods"][0]["containers"][0]["resources"]["requests.cpu"] == 2
    assert {"no-requests", "memory-limit-far-above-request"}.isdisjoint(findings(printed))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("512MB", "512M"), ("512MiB", "512Mi"), ("1 Gi", "1Gi"), ("500 m", "500m"), ("1kB", "1k"), ("2 ", "2"),
        (" 1Gi ", "1Gi"), ("1024B", "1024"),
    ],
)  # fmt: skip
def test_a_quantity_that_kubernetes_refuses_is_none(text, right):
    found = amount(text, 1)
    assert found.value is None
    assert found.trouble.endswith(f'write "{right}"')
    assert amount(right, 1).trouble == ""


@pytest.mark.parametrize(
    "text", ["1K", "1kI", "-1", "1e", "1e3Mi", "1..2", ".", "", "Mi", "1Mi1", "++1", "0x10", "1_0"]
)
def test_nonsense_is_no_quantity(text):
    assert amount(text, 1).value is None
    assert amount(text, 1).trouble


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("+1Gi", 1 << 30), ("1e3", 1000), ("1E3", 1000), ("2E", 2 * 10**18), ("1e-3", Fraction(1, 1000)), (".5", 0.5),
        ("1.", 1), ("1.5Ki", 1536), ("100n", Fraction(1, 10**7)), ("3u", Fraction(3, 10**6)), ("500m", 0.5),
        ("0", 0), ("1Ei", 1 << 60), ("2T", 2 * 10**12), ("1e+2", 100),
    ],
)  # fmt: skip
def test_a_quantity_that_kubernetes_takes_is_one(text, value):
    assert amount(text, 1) == (text, 1, value, "")


def test_variables_are_what_the_container_would_see(check):
    env = 'env: [{name: N, value: "7"}, {name: CGEXEC_FORCE_MAX_WORKERS, value: $(N)}, {name: LIT, value: $$(N)}]\n'
    (container,) = check(deployment(GOOD.partition("env:")[0] + env))[1]["pods"][0]["containers"]
    assert (container["workers"], container["workers_source"]) == (7, "CGEXEC_FORCE_MAX_WORKERS")
    secret = "env: [{name: CGEXEC_CPUS, valueFrom: {secretKeyRef: {name: s, key: k}}}]\n"
    (container,) = check(deployment(GOOD.partition("env:")[0] + secret))[1]["pods"][0]["containers"]
    assert container["workers"] == 8


@pytest.mark.parametrize("mode", ["off", "observe"])
def test_a_standard_pool_sizes_itself_by_the_node(check, tmp_path, capsys, mode):
    text = deployment(f"{GOOD}  - {{name: CGEXEC_MODE, value: {mode!r}}}\n")
    (container,) = check(text)[1]["pods"][0]["containers"]
    assert (container["workers"], container["workers_source"]) == (None, f"CGEXEC_MODE={mode}")
    assert main(["manifest", str(tmp_path / "app.yaml")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    said = f"would get the standard pool's size, the node's CPUs + 4 and at most 32, by CGEXEC_MODE={mode} (else 8 workers)"
    assert said in printed
    forced = f"{text}            - {{name: CGEXEC_FORCE_MAX_WORKERS, value: '7'}}\n"
    assert check(forced)[1]["pods"][0]["containers"][0]["workers"] == 7


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        ("command: [uvicorn, 'app:app']\nargs: [--workers, $(W)]", ["uvicorn", "app:app", "--workers", "4"]),
        ("args: [$(W)$(W), --w=$(W)]", ["44", "--w=4"]),
        ("args: [sh, -c, 'exec gunicorn -w $(W) app']", ["sh", "-c", "exec", "gunicorn", "-w", "4", "app"]),
        ("args: [$$(W), $$$(W), $$$$(W), a$$b]", ["$(W)", "$4", "$$(W)", "a$b"]),
        ("args: [$(NOBODY), $(W, $W, $(), $($(W))]", ["$(NOBODY)", "$(W", "$W", "$()", "$($(W))"]),
        ("args: [$(SECRET), '$(OF)']", ["$(SECRET)", "$(OF)"]),
        ("args: [$(EMPTY)]", [""]),
        ("args: [$(LATER)]", ["4"]),
    ],
    ids=["args", "twice", "shell", "literal", "unresolved", "secret", "empty", "reference"],
)
def test_a_command_line_has_the_variables_that_kubernetes_puts_in(words, seen):
    env = (
        'env: [{name: W, value: "4"}, {name: SECRET, valueFrom: {secretKeyRef: {name: s, key: k}}}, {name: EMPTY},'
        " {name: OF, value: $(SECRET)}, {name: LATER, value: $(W)}]\n"
    )
    (pod,) = pods(read_documents(deployment(f"{words}\n{env}").encode(), "f")[0], "f")
    assert list(pod.containers[0].words) == seen


def test_processes_told_by_a_variable_are_counted(check):
    text = GOOD + "  - {name: W, value: '4'}\nargs: [uvicorn, 'app:app', --workers, $(W)]\n"
    _, printed = check(deployment(text))
    assert printed["pods"][0]["containers"][0]["processes"] == 4
    assert "uvicorn starts 4 processes" in findings(printed)["processes-not-told"]["text"]


def test_a_long_command_line_of_long_variables_takes_no_memory():
    text = f"env: [{{name: LONG, value: {'x' * 100_000}}}]\nargs: [{', '.join(['$(LONG)'] * 1000)}]\n"
    (pod,) = pods(read_documents(deployment(text).encode(), "f")[0], "f")
    assert sum(map(len, pod.containers[0].words)) < 7 << 20


POD = "spec:\n  containers: [{name: a, resources: {limits: {cpu: 1, memory: 1Gi}}}]\n"
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


WHOLE = """\
kind: Pod
metadata: {name: whole}
spec:
  resources:
    requests: {cpu: "1", memory: 1Gi}
    limits: {cpu: "2", memory: 2Gi}
  containers:
    - {name: a}
    - {name: b, resources: {limits: {memory: 1Gi}}}
"""


def test_what_is_written_for_the_whole_pod_counts_once(check):
    _, printed = check(WHOLE, "--node", "cpu=8,memory=32Gi", "--ignore", "requests-not-told")
    (pod,) = printed["pods"]
    assert pod["node"] == {"pods": 8, "bound_by": "cpu", "cpu_overcommit": 2.0, "memory_overcommit": 0.5}
    assert pod["resources"]["limits.memory"] == 2 << 30
    a, b = pod["containers"]
    assert a["resources"] == {}
    assert b["resources"] == {"limits.memory": 1 << 30, "requests.memory": 1 << 30}
    # Each may use all of it, and there is a bound for each.
    assert a["workers"] == b["workers"] == 8
    assert findings(printed) == {}


@pytest.mark.parametrize(
    ("resources", "containers", "fit"),
    [
        # Kubernetes' defaults where a request of the pod is not written: its containers', else its own limit.
        ("{limits: {cpu: 4, memory: 8Gi}}", "{name: a, resources: {requests: {cpu: 2, memory: 1Gi}}}", 4),
        ("{limits: {cpu: 4, memory: 8Gi}}", "{name: a}", 2),
        ("{requests: {cpu: 1}}", "{name: a, resources: {requests: {cpu: 500m, memory: 8Gi}}}", 4),
    ],
)
def test_requests_of_a_pod_that_are_not_written(resources, containers, fit):
    text = f"kind: Pod\nspec:\n  resources: {resources}\n  containers:\n    - {containers}\n"
    (pod,) = pods(read_documents(text.encode(), "f")[0], "f")
    assert pack(pod, node("cpu=8,memory=32Gi")).pods == fit


def test_what_is_wrong_with_the_resources_of_a_pod_is_said_once(check):
    text = WHOLE.replace("memory: 1Gi}\n    limits", "memory: 3Gi}\n    limits").replace('cpu: "1"', "cpu: 1 CPU")
    _, printed = check(text, "--ignore", "requests-not-told")
    found = [(one["rule"], one["line"]) for one in printed["pods"][0]["containers"][0]["findings"]]
    assert found == [("bad-quantity", 5), ("request-above-limit", 5)]
    assert printed["pods"][0]["containers"][1]["findings"] == []


@pytest.mark.parametrize(
    ("other", "pod", "said"),
    [
        ("", "", "QoS BestEffort"),
        (", resources: {requests: {cpu: 1}}", "", "lives on what others leave"),
        (", resources: {limits: {memory: 1Gi}}", "", "lives on what others leave"),
        (", resources: {limits: {memory: 0}}", "", "QoS BestEffort"),
        ("", "  resources: {requests: {cpu: 1}}\n", None),
        ("", "  resources: {limits: {memory: 1Gi}}\n", None),
    ],
)
def test_the_qos_class_is_the_pods(check, other, pod, said):
    _, printed = check(f"kind: Pod\nspec:\n{pod}  containers:\n    - {{name: a}}\n    - {{name: b{other}}}\n")
    found = {one["rule"]: one["text"] for one in printed["pods"][0]["containers"][0]["findings"]}
    assert ("no-requests" in found) == (said is not None)
    assert (said or "") in found.get("no-requests", "")


def test_text_names_the_resources_of_the_pod(tmp_path, capsys):
    path = tmp_path / "pod.yaml"
    path.write_text(WHOLE)
    main(["manifest", str(path)])
    assert "  limits    CPUs: none, 1 GiB; 2 CPUs, 2 GiB for the whole pod\n" in capsys.readouterr().out


def test_a_limit_of_zero_leaves_the_pods(check):
    text = WHOLE.replace("limits: {memory: 1Gi}", "limits: {memory: 0}")
    _, printed = check(text, "--ignore", "requests-not-told", "--memory-per-task", "512Mi")
    a, b = printed["pods"][0]["containers"]
    assert a["workers"] == b["workers"] == 3
    assert findings(printed) == {}


@pytest.mark.parametrize("other", ["", ", resources: {limits: {cpu: 1}}"])
def test_that_some_container_has_no_limit_is_not_that_none_has(tmp_path, capsys, other):
    path = tmp_path / "pod.yaml"
    one = "{name: a, resources: {limits: {memory: 1Gi}}}"
    path.write_text(f"kind: Pod\nspec: {{containers: [{one}, {{name: b{other}}}]}}\n")
    main(["manifest", str(path), "--node", "cpu=8,memory=32Gi"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "not every container has a memory limit" in printed
    assert ("no CPU limits" if not other else "not every container has a CPU limit") in printed


def test_how_many_fit_a_node_and_how_far_limits_overcommit_it(check):
    text = deployment(RESOURCES.format("100m", "1Gi", 2, "4Gi"))
    _, printed = check(text, "--node", "cpu=8,memory=32Gi")
    assert printed["pods"][0]["node"] == {
        "pods": 32, "bound_by": "memory", "cpu_overcommit": 8.0, "memory_overcommit": 4.0,
    }  # fmt: skip
    _, printed = check(deployment("image: x\n"), "--node", "cpu=8,memory=32Gi")
    assert printed["pods"][0]["node"]["bound_by"] == "pods"
    assert printed["pods"][0]["containers"][0]["workers"] == 12
