"""What a container would get, and what is wrong with it."""

import pytest

pytest.importorskip("yaml", reason='needs PyYAML: pip install "cgexec[k8s]"')

import cgexec
from cgexec._cli import main
from cgexec._manifest.rules import RULES
from support.manifests import CRON, GOOD, RESOURCES, deployment, findings
from support.values import make_limits, make_usage


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


@pytest.mark.parametrize(
    ("rule", "level", "container", "words", "line"),
    [
        ("bad-quantity", "error", RESOURCES.format(1, "1gb", 2, "4Gi"), "unknown suffix 'gb'", 8),
        ("bad-quantity", "error", RESOURCES.format(1, "256Mi", 2, "512m"), 'Docker\'s 512m is "512Mi" here', 8),
        ("bad-quantity", "error", RESOURCES.format(1, "256Mi", 2, "512"), 'for mebibytes write "512Mi"', 8),
        ("bad-quantity", "error", RESOURCES.format(1, "256Mi", 2, "512MB"), 'no quantity to Kubernetes, which refuses the pod: write "512M"', 8),
        ("request-above-limit", "error", RESOURCES.format(3, "1Gi", 2, "2Gi"), "requests.cpu 3 is above limits.cpu 2", 8),
        ("request-above-limit", "error", RESOURCES.format(0, "1Gi", 0, "0"), "requests.memory 1Gi is above limits.memory 0", 8),
        ("no-memory-limit", "warning", RESOURCES.format(1, 0, 1, '"0"'), "the node's memory", 7),
        ("bad-quantity", "error", RESOURCES.format(1, "1Gi", "[1]", "2Gi"), "limits.cpu: expected a quantity, got a list", 8),
        ("bad-quantity", "error", RESOURCES.format(1, "{a: b}", 1, "2Gi"), "requests.memory: expected a quantity, got a mapping", 8),
        ("bad-quantity", "error", "resources: {limits: [cpu, 1]}\n", "limits: expected cpu: and memory: with", 8),
        ("env-not-a-string", "error", "env:\n- name: DEBUG\n  value: 1\n", 'write "1"', 10),
        ("bad-variable", "error", "env: [{name: CGEXEC_CPUS, value: many}]\n", "CGEXEC_CPUS='many'", 8),
        ("bad-variable", "error", "env: [{name: CGEXEC_MODE, value: obsrve}]\n", "CGEXEC_MODE='obsrve'", 8),
        (
            "bad-variable",
            "error",
            GOOD + "  - {name: CGEXEC_FORCE_MAX_WORKERS, value: '4'}\n  - {name: CGEXEC_MAX_WORKERS, value: many}\n",
            "CGEXEC_MAX_WORKERS='many'",
            16,
        ),
        (
            "odd-variable",
            "warning",
            GOOD + "  - {name: CGEXEC_CPUS, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}\n",
            "CGEXEC_CPUS=2000 is above the quota of 2 CPUs (limits.cpu)",
            15,
        ),
        ("odd-variable", "warning", GOOD + "  - {name: CGEXEC_MEMORY, value: 8Gi}\n", "CGEXEC_MEMORY=8 GiB is above the limit of 4 GiB", 15),
        ("odd-variable", "warning", GOOD + "  - {name: PYTHON_CPU_COUNT, value: two}\n", "is passed over", 15),
        ("odd-variable", "warning", GOOD + "  - {name: CGEXEC_CPUS, value: 500m}\n", "request of 1 CPU is above the 0.5 CPU", 15),
        ("variable-not-set", "note", GOOD + "  - {name: CGEXEC_CPUS, value: '0'}\n", "CGEXEC_CPUS=0 is taken as not set", 15),
        ("no-memory-limit", "warning", "resources: {requests: {cpu: 1}, limits: {cpu: 1}}\n", "the node's memory", 7),
        ("no-cpu-limit", "note", "resources: {limits: {memory: 1Gi}}\n", "the node's CPUs", 7),
        ("no-requests", "warning", "image: x\n", "BestEffort", 7),
        ("memory-limit-far-above-request", "warning", RESOURCES.format(1, "1Gi", 2, "4Gi"), "4 times the request", 8),
        ("memory-limit-far-above-request", "warning", RESOURCES.format(1, "1Mi", 2, "4Gi"), "4096 times the request", 8),
        ("cpu-limit-far-above-request", "note", RESOURCES.format("100m", "3Gi", 2, "4Gi"), "20 times the request", 8),
        ("cpu-limit-far-above-request", "note", RESOURCES.format("1m", "3Gi", 2, "4Gi"), "2000 times the request", 8),
        ("quota-below-one-cpu", "warning", RESOURCES.format("400m", "1Gi", "500m", "2Gi"), "50 ms of each 100 ms", 8),
        ("threads-above-limit", "warning", GOOD + "  - {name: OMP_NUM_THREADS, value: '8'}\n", "2 is right", 15),
        ("threads-above-limit", "warning", GOOD + "  - {name: OMP_NUM_THREADS, value: '1234567890'}\n", "OMP_NUM_THREADS=1234567890, but", 15),
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


@pytest.mark.parametrize(
    ("container", "words", "bound"),
    [
        (GOOD, (), "the CPU limit"),
        (GOOD + "  - {name: CGEXEC_CPUS, value: '8'}\n", (), "the number of CPUs (CGEXEC_CPUS)"),
        (GOOD + "  - {name: CGEXEC_CPUS, value: '2000'}\n", (), "the most that cgexec ever starts"),
        ("resources: {limits: {memory: 4Gi}}\n", ("--node", "cpu=8,memory=32Gi"), "the standard pool's size: nothing limits the CPUs"),
        (GOOD, ("--memory-per-task", "2Gi"), "memory"),
    ],
    ids=["limit", "told", "cap", "stock", "memory"],
)  # fmt: skip
def test_what_binds_is_called_by_its_name(check, tmp_path, capsys, container, words, bound):
    check(deployment(container))
    main(["manifest", str(tmp_path / "app.yaml"), *words])
    printed = " ".join(capsys.readouterr().out.split())
    assert f"workers, bound by {bound}; at most" in printed or f"worker, bound by {bound}; at most" in printed


@pytest.mark.parametrize(
    ("env", "words", "said", "processes"),
    [
        ({"CGEXEC_PROCESSES": "2"}, "--workers=4", "gunicorn starts 4 processes, but CGEXEC_PROCESSES tells 2, and each", 4),
        ({"CGEXEC_PROCESSES": "4"}, "--workers=4", None, 4),
        ({"CGEXEC_PROCESSES": "4"}, "app", None, 4),
        ({"CGEXEC_PROCESSES": "4"}, "--workers=1", "gunicorn starts 1 process, but CGEXEC_PROCESSES tells 4, and each", 4),
        ({"CGEXEC_PROCESSES": "1"}, "--workers=4", "gunicorn starts 4 processes, but CGEXEC_PROCESSES tells 1, and each", 4),
        ({"CGEXEC_PROCESSES": ""}, "--workers=4", "gunicorn starts 4 processes, and each sizes its pools as if", 4),
        ({"CGEXEC_PROCESSES": "2", "WEB_CONCURRENCY": "4"}, "app", "gunicorn starts 4 processes, but CGEXEC_PROCESSES tells 2, and each", 4),
        ({"WEB_CONCURRENCY": "2"}, "--workers=4", "gunicorn starts 4 processes, but WEB_CONCURRENCY tells 2, and each", 4),
        ({"WEB_CONCURRENCY": "4"}, "app", None, 4),
        ({"WEB_CONCURRENCY": "auto"}, "--workers=4", "gunicorn starts 4 processes, and each sizes its pools as if", 4),
        ({"CGEXEC_PROCESSES": None, "WEB_CONCURRENCY": "2"}, "--workers=4", None, 4),
        ({"WEB_CONCURRENCY": None}, "--workers=4", None, 4),
    ],
)  # fmt: skip
def test_processes_told_and_processes_started(check, env, words, said, processes):
    names = [
        f"  - {{name: {name}, valueFrom: {{secretKeyRef: {{name: s, key: k}}}}}}\n"
        if value is None
        else f"  - {{name: {name}, value: '{value}'}}\n"
        for name, value in env.items()
    ]
    _, printed = check(deployment(f"{GOOD}{''.join(names)}args: [gunicorn, {words}]\n"))
    assert printed["pods"][0]["containers"][0]["processes"] == processes
    found = findings(printed).get("processes-not-told")
    assert (found is None) == (said is None)
    if found is not None:
        assert found["text"].startswith(said)
        assert '- name: CGEXEC_PROCESSES\n    value: "' in found["fix"]


def test_the_rules_about_tasks_need_to_be_told_of_them(check):
    text = deployment(GOOD + "args: ['gunicorn --workers=4 --threads 8 app']\n", "terminationGracePeriodSeconds: 60\n")
    assert {"memory-over-limit", "grace-shorter-than-tasks"}.isdisjoint(findings(check(text)[1]))
    found = findings(check(text, "--memory-per-task", "200Mi", "--task-seconds", "300")[1])
    assert "4 processes x 8 workers x 200 MiB come to 6.2 GiB" in found["memory-over-limit"]["text"]
    assert "has 60 s, a task takes 300 s" in found["grace-shorter-than-tasks"]["text"]
    assert found["grace-shorter-than-tasks"]["line"] == 6
    assert "not even one task" in findings(check(text, "--memory-per-task", "2Gi")[1])["memory-over-limit"]["text"]


@pytest.mark.parametrize(
    ("hook", "sleeps"),
    [
        ("{sleep: {seconds: 20}}", 20),
        ("{exec: {command: [sleep, '20']}}", 20),
        ("{exec: {command: [/bin/sleep, 20]}}", 20),
        ("{exec: {command: [sh, -c, 'sleep 20']}}", 20),
        ("{exec: {command: [/bin/sh, -c, 'sleep 15; nginx -s quit && sleep 0.5m']}}", 45),
        ("{exec: {command: [sh, -c, 'oversleep 20; sleep 20x; sleep $N']}}", 0),
        ("{httpGet: {path: /stop, port: 80}}", 0),
        ("{sleep: {seconds: long}}", 0),
    ],
    ids=["sleep", "exec", "path", "shell", "several", "no-sleep", "http", "nonsense"],
)
def test_a_hook_that_sleeps_counts_against_the_grace_period(check, hook, sleeps):
    text = deployment(f"{GOOD}lifecycle: {{preStop: {hook}}}\n", "terminationGracePeriodSeconds: 60\n")
    assert findings(check(text, "--task-seconds", str(60 - sleeps))[1]) == {}
    found = findings(check(text, "--task-seconds", str(61 - sleeps))[1])["grace-shorter-than-tasks"]["text"]
    assert (f"has 60 s, of which its preStop hook sleeps {sleeps} s, a task" in found) == bool(sleeps)
    assert "terminationGracePeriodSeconds: 71 leaves ten" in found


def test_a_time_is_read_to_its_last_digit(check):
    text = deployment(GOOD, "terminationGracePeriodSeconds: 1000000000000\n")
    assert findings(check(text, "--task-seconds", "500000000000")[1]) == {}


def test_every_rule_is_tested_here():
    with open(__file__) as file:
        text = file.read()
    assert [rule for rule in RULES if f'"{rule}"' not in text] == []


def test_the_block_to_paste_is_yaml_that_cures(check):
    text = deployment(RESOURCES.format("250m", "3Gi", "2", "4Gi"))
    fix = findings(check(text)[1])["requests-not-told"]["fix"]
    cured = findings(check(deployment(RESOURCES.format("250m", "3Gi", "2", "4Gi") + fix + "\n"))[1])
    assert {"requests-not-told", "wrong-request-told"}.isdisjoint(cured)


def test_a_deadline_before_the_end_of_a_task_is_an_error(check):
    found = findings(check(CRON, "--task-seconds", "300")[1])["deadline-shorter-than-tasks"]
    assert (found["level"], found["line"]) == ("error", 6)
