"""The command line as people and scripts meet it: what is printed where, and the exit status."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import cgexec
from cgexec._cli import main
from cgexec._cli.fold import fold
from cgexec._signals import signals_interrupt, signals_wait
from support.trees import GIB, build, v2_machine

POD = "cpu=2,memory=4Gi,cpu-request=0.1,memory-request=1Gi"


def run(*words):
    """Run the command line in this process; return exit status, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(words)
        except SystemExit as leave:
            status = leave.code
    return status, out.getvalue(), err.getvalue()


def printed(*words):
    status, out, err = run(*words)
    assert (status, err) == (0, "")
    return out


def python(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "cgexec", *words], capture_output=True, text=True, timeout=60, **options
    )


def test_without_a_command_it_reports_on_this_container():
    text = printed()
    assert text.startswith("start ")
    for heading in ("bound by", "What Python believes", "In use now", "Workers (", "What each worker may hold"):
        assert heading in text


def test_the_report_answers_for_a_pod_one_is_not_in():
    text = printed("--as", POD)
    assert text.split("\n")[0] == "start 8 workers, may grow to 1000; 20 if jobs wait 90 % of their time"
    cpus = next(line.split() for line in text.split("\n") if line.strip().startswith("CPUs"))
    memory = next(line.split() for line in text.split("\n") if line.strip().startswith("memory"))
    assert cpus[:4] == ["CPUs", "2", "0.1", "-"]
    assert memory[:6] == ["memory", "4", "GiB", "1", "GiB", "-"]
    assert "What Python believes" not in text
    assert "In use now" not in text
    assert "the CPU limit is 20 times the request" in text


def test_the_report_reads_another_root(tmp_path):
    build(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "proc/self/mountinfo": "30 20 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n",
            "proc/meminfo": "MemTotal: 16777216 kB\nMemAvailable: 16777216 kB\n",
            "sys/fs/cgroup/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/cpu.stat": "nr_periods 100\nnr_throttled 30\nthrottled_usec 5000000\n",
            "sys/fs/cgroup/memory.max": "536870912\n",
            "sys/fs/cgroup/memory.current": "209715200\n",
            "sys/fs/cgroup/memory.stat": "inactive_file 104857600\n",
            "sys/fs/cgroup/pids.max": "100\n",
            "sys/fs/cgroup/pids.current": "7\n",
            "sys/fs/cgroup/memory.swap.max": "0\n",
            "sys/fs/cgroup/memory.events": "oom 4\noom_kill 3\n",
        },
    )
    text = printed("report", "--root", str(tmp_path))
    for part in (
        "/sys/fs/cgroup/cpu.max",
        "512 MiB",
        "100 MiB",
        "20% of the memory limit",
        "30%",
        "of 100 periods, 5.0 s",
        "swap",
        "OOM kills             3   since this cgroup was made",
    ):
        assert part in text


def test_without_a_limit_use_is_a_share_of_the_machine(tmp_path):
    levels = {"/": {"memory.max": "max\n", "memory.current": f"{4 * GIB}\n", "memory.stat": "inactive_file 0\n"}}
    text = printed("report", "--root", str(v2_machine(tmp_path, "/", levels)))
    assert "25% of the machine's memory; cannot be reclaimed" in text


def test_the_use_of_a_level_above_is_a_share_of_that_levels_limit(tmp_path):
    def level(limit, used):
        return {"memory.max": f"{limit}\n", "memory.current": f"{used}\n", "memory.stat": "inactive_file 0\n"}

    levels = {"/pod": level(256 << 20, 224 << 20), "/pod/box": level(100 << 20, 20 << 20)}
    text = printed("report", "--root", str(v2_machine(tmp_path, "/pod/box", levels)))
    assert "224 MiB   88% of 256 MiB, the limit of the level with the least room; cannot be reclaimed" in text


def test_a_limit_that_cannot_be_read_is_not_said_to_be_none(tmp_path):
    text = printed("report", "--root", str(v2_machine(tmp_path, "/", {"/": {"cpu.max": "junk\n"}})))
    assert "no limit is visible: all CPUs of the host" in text
    assert "nothing: " not in text


def test_json_is_the_values(tmp_path):
    kept = json.loads(printed("--json"))
    assert kept["limits"]["cpus"] == cgexec.limits().cpus
    assert kept["recommendation"]["max_workers"] == cgexec.recommend().max_workers
    assert kept["cgexec"] == cgexec.__version__
    assert {"usage", "host", "python", "notes", "verdict"} <= set(kept)


def test_compare_says_what_changed_and_that_something_did(tmp_path):
    old = tmp_path / "old.json"
    old.write_text(printed("--as", POD, "--json"))
    assert run("report", "--as", POD, "--compare", str(old)) == (0, "nothing changed\n", "")
    status, out, _ = run("report", "--as", "cpu=1,memory=4Gi", "--compare", str(old))
    assert status == 1
    assert "limits.cpus: 2.0 -> 1.0" in out
    assert "limits.cpu_request: 0.1 -> none" in out
    assert "recommendation.max_workers: 8 -> 4" in out
    status, out, _ = run("report", "--as", "cpu=1,memory=4Gi", "--compare", str(old), "--json")
    assert {"name": "limits.cpus", "old": 2.0, "new": 1.0} in json.loads(out)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"limits": 3}', "\xff\xfe"])
def test_compare_with_something_else_is_an_error(tmp_path, content):
    old = tmp_path / "old.json"
    old.write_text(content, encoding="latin-1")
    status, out, err = run("report", "--compare", str(old))
    assert (status, out) == (2, "")
    assert "expected a file kept from report --json" in err


def test_compare_with_what_recommend_printed_is_an_error(tmp_path):
    old = tmp_path / "old.json"
    old.write_text(printed("recommend", "--as", POD, "--json"))
    status, out, err = run("report", "--as", POD, "--compare", str(old))
    assert (status, out) == (2, "")
    assert err.endswith('expected a file kept from report --json, but it has no "recommendation"\n')


def test_compare_with_no_file_is_an_error(tmp_path):
    status, _, err = run("--compare", str(tmp_path / "none.json"))
    assert status == 2
    assert "No such file" in err


FORMATS = {
    "number": "20",
    "env": "CGEXEC_MAX_WORKERS=20",
    "gunicorn": "--worker-class=gthread --workers=1 --threads=20",
    "celery": "--pool=threads --concurrency=20",
}


@pytest.mark.parametrize(("form", "text"), FORMATS.items())
def test_recommend_speaks_the_language_of_those_who_start_the_service(form, text):
    assert printed("recommend", "--as", POD, "--cpu-per-task", "0.1", "--format", form) == text + "\n"


def test_recommend_for_processes():
    work = ("--as", POD, "--io-ratio", "0", "--kind", "process", "--memory-per-task", "1Gi")
    assert (
        printed("recommend", *work, "--format", "celery")
        == "--pool=prefork --concurrency=2 --max-memory-per-child=1782579\n"
    )
    assert printed("recommend", *work, "--format", "gunicorn") == "--workers=2\n"


def test_recommend_passes_every_argument_on():
    words = [
        "--memory-per-task=64Mi",
        "--io-ratio=0.9",
        "--no-releases-gil",
        "--processes=2",
        "--reserve=0.5",
        "--basis=request",
    ]
    kept = json.loads(printed("recommend", "--as", POD, *words, "--json"))
    work = kept["workload"]
    assert work == {
        **work,
        "memory_per_task": 64 << 20,
        "io_ratio": 0.9,
        "releases_gil": False,
        "processes": 2,
        "reserve": 0.5,
        "basis": "request",
    }
    assert (kept["max_workers"], kept["bound_by"]) == (4, "memory")
    env = printed("recommend", "--as", POD, "--processes=2", "--format=env")
    assert env == "CGEXEC_MAX_WORKERS=4\nCGEXEC_PROCESSES=2\n"


def test_what_does_not_fit_is_a_no_that_scripts_can_see():
    status, out, err = run("recommend", "--as", "cpu=2,memory=256Mi", "--memory-per-task", "1Gi", "--format", "number")
    assert (status, out) == (1, "1\n")
    assert "does not suffice" in err
    assert run("--as", "cpu=2,memory=256Mi", "--memory-per-task", "1Gi")[0] == 1


def test_env_prints_variables_for_a_shell():
    text = printed("env", "--as", "cpu=4,memory=4Gi")
    assert "export OMP_NUM_THREADS=4\n" in text
    names = ["OMP", "OPENBLAS", "MKL", "NUMEXPR", "POLARS", "RAYON", "LOKY", "MALLOC_ARENA_MAX"]
    assert all(any(line.startswith(f"export {name}") for line in text.split("\n")) for name in names)


def test_env_divides_by_processes_and_callers():
    values = json.loads(printed("env", "--as", "cpu=8,memory=4Gi", "--processes", "2", "--callers", "2", "--json"))
    assert (values["OMP_NUM_THREADS"], values["LOKY_MAX_CPU_COUNT"], values["MALLOC_ARENA_MAX"]) == ("2", "4", "4")
    small = printed("env", "--as", "cpu=0.5,memory=1Gi", "--format", "dotenv")
    assert "OMP_NUM_THREADS=1\n" in small
    assert "MALLOC_ARENA_MAX=2\n" in small


WRONG = {
    "unknown key": (("--as", "cpu=2,disk=3"), "'disk=3' is not one of cpu="),
    "no value": (("--as", "cpu"), "is not one of"),
    "empty": (("--as", ""), "is not one of"),
    "twice": (("--as", "cpu=2,cpu=3"), "stands there twice"),
    "no number": (("--as", "cpu=two"), "--as cpu=two: expected a quantity"),
    "no CPU at all": (("--as", "cpu=0"), "above 0"),
    "memory of two bytes": (("--as", "memory=2"), "memory='2' is 2 B"),
    "pids": (("--as", "pids=-1"), "whole number above 0"),
    "percent": (("recommend", "--io-ratio", "80"), "is 0.8"),
    "not a number": (("recommend", "--io-ratio", "much"), "expected a share from 0 to 1"),
    "basis without request": (("recommend", "--basis", "request"), "CGEXEC_MEMORY_REQUEST"),
    "basis without a stated request": (
        ("recommend", "--as", "cpu=2,memory=4Gi", "--basis", "request"),
        "add memory-request=1Gi to --as",
    ),
    "basis without a request below a root": (
        ("recommend", "--root", "/usr", "--basis", "request"),
        "no file below --root tells the memory request",
    ),
    "callers": (("env", "--callers", "0"), "callers=0: expected a whole number of callers"),
    "command": (("frobnicate",), "invalid choice"),
    "no such root": (("--root", "/nonexistent"), "root='/nonexistent': there is no such directory"),
    "command last": (("--root", "/x", "recommend"), "unrecognized arguments: recommend; the command comes first: cgexec-py recommend ...\n"),
    "left over": (("env", "--nothing"), "unrecognized arguments: --nothing\n"),
    "both views": (("--as", "cpu=2", "--root", "/x"), "not allowed with"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_call_is_status_2_and_says_how(words, message):
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("text", ["abc", "", "nan", "inf", "-1", "0", "1e999"])
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("profile", "os:getpid", "--seconds"), "--seconds: expected from 0.05 to 3600 seconds"),
        (("profile", "os:getpid", "--budget"), "--budget: expected seconds above 0, such as 30"),
        (("watch", "--once", "--interval"), "--interval: expected from 0.1 to 3600 seconds"),
        (("manifest", "app.yaml", "--task-seconds"), "--task-seconds: expected seconds above 0, such as 30"),
        (("demo", "--seconds"), "--seconds: expected from 1 to 600 seconds"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_time_is_finite_and_above_zero(words, expected, text):
    status, out, err = run(*words, text)
    assert (status, out) == (2, "")
    assert f"{expected}, got {text!r}\n" in err


@pytest.mark.parametrize(
    "words", [("-g", "cpu:x", "ls"), ("-gcpu:x", "ls"), ("--sticky", "-g", "*:x", "ls"), ("-b", "-g", "c:x", "ls")]
)
def test_libcgroups_options_are_answered_with_the_program_they_want(words):
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert f"/usr/bin/cgexec {' '.join(words)}" in err
    assert "cgroup-tools" in err


def test_nonsense_in_the_environment_is_an_error(monkeypatch):
    monkeypatch.setenv("CGEXEC_MEMORY", "lots")
    status, _, err = run()
    assert status == 2
    assert "CGEXEC_MEMORY='lots'" in err


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"CGEXEC_MAX_WORKERS": "200"}, "CGEXEC_MAX_WORKERS=200 decides: a pool without a number has that"),
        ({"CGEXEC_MAX_WORKERS": "200", "CGEXEC_FORCE_MAX_WORKERS": "3"}, "CGEXEC_FORCE_MAX_WORKERS=3 decides: every pool"),
        ({"CGEXEC_MAX_WORKERS": "200", "CGEXEC_MODE": "off"}, "CGEXEC_MODE=off decides: a pool without a number has the standard"),
        ({"CGEXEC_FORCE_MAX_WORKERS": "3", "CGEXEC_MODE": "observe"}, "CGEXEC_FORCE_MAX_WORKERS=3 decides: every pool"),
        ({"CGEXEC_MODE": "enforce"}, None),
    ],
    ids=["default", "forced", "off", "forced-observed", "enforced"],
)  # fmt: skip
def test_a_variable_that_decides_is_named(monkeypatch, environ, said):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    for command in ("report", "recommend"):
        text = printed(command)
        assert said in text if said else "decides" not in text
        assert "decides" not in printed(command, "--as", POD)
    with cgexec.ThreadPoolExecutor() as pool:
        stock = ThreadPoolExecutor()._max_workers
        told = said and (stock if "standard" in said else int(said.partition("=")[2].partition(" ")[0]))
        assert pool._max_workers == (told or cgexec.recommend().max_workers)


@pytest.mark.parametrize("name", ["CGEXEC_MAX_WORKERS", "CGEXEC_FORCE_MAX_WORKERS", "CGEXEC_MODE"])
@pytest.mark.parametrize("command", ["report", "recommend"])
def test_nonsense_about_pools_is_an_error_here_too(monkeypatch, name, command):
    monkeypatch.setenv(name, "bogus")
    status, out, err = run(command)
    assert (status, out) == (2, "")
    assert f"{name}='bogus'" in err


def test_of_a_container_one_is_not_in_the_own_environment_says_nothing(monkeypatch, tmp_path):
    words = [("recommend", "--as", POD, "--json"), ("recommend", "--root", str(v2_machine(tmp_path, "/", {})), "--json"),
             ("env", "--as", POD, "--json")]  # fmt: skip
    before = [printed(*each) for each in words]
    for name, value in {"WEB_CONCURRENCY": "4", "CGEXEC_RESERVE": "0.5", "CGEXEC_MODE": "bogus"}.items():
        monkeypatch.setenv(name, value)
    assert [printed(*each) for each in words] == before


def test_what_is_not_stated_is_said_to_be_this_machines():
    text = printed("--as", "memory=1Gi")
    assert "cpu= is not stated" in text
    assert "memory= is not stated" in printed("--as", "cpu=1")


def test_what_the_process_holds_can_be_stated():
    values = json.loads(
        printed(
            "recommend",
            "--as",
            "cpu=2,memory=4Gi,held=300Mi,pids=50",
            "--memory-per-task=200Mi",
            "--io-ratio=0.9",
            "--json",
        )
    )
    assert (values["max_workers"], values["terms"]["pids"]) == (15, 42)


def test_bold_only_on_a_terminal_and_never_with_no_color(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for variable, expected in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", variable)
        monkeypatch.setenv("TERM", "xterm")
        out = Terminal()
        with contextlib.redirect_stdout(out):
            main(["--as", POD])
        assert ("\033[" in out.getvalue()) is expected


def test_as_a_module_it_serves_shell_substitution():
    result = python("recommend", "--as", POD, "--io-ratio", "0.96", "--format", "number")
    assert (result.returncode, result.stdout, result.stderr) == (0, "50\n", "")


def test_a_reader_that_leaves_early_is_no_error():
    command = f'"{sys.executable}" -m cgexec | head -n 1'
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.startswith("start ")
    assert result.stderr == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("words", [["report"], ["recommend", "--format", "number"]], ids=["long", "short"])
def test_an_answer_that_cannot_be_written_is_an_error_and_not_a_no(words):
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "cgexec", *words], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert result.returncode == 2
    assert result.stderr == "cgexec-py: error: the answer could not be written: No space left on device\n"


ANSWERING = ["report", "recommend", "env", "manifest -", "watch --once"]


@pytest.mark.skipif(os.name != "posix", reason="needs a shell that closes streams")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        *((f"{words} >&-", "the answer could not be written: standard output is closed") for words in ANSWERING),
        ("manifest - <&-", "<stdin>: standard input is closed"),
        ("recommend --io-ratio 5 2>&-", None),
        ("report >&- 2>&-", None),
    ],
)
def test_a_stream_that_is_closed_is_an_error_and_not_a_no(words, message):
    if words.startswith("manifest"):
        pytest.importorskip("yaml", reason='needs PyYAML: pip install "cgexec[k8s]"')
    command = f'"{sys.executable}" -m cgexec {words}'
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr == ("" if message is None else f"cgexec-py: error: {message}\n")


def test_nor_is_one_that_was_never_there():
    read, write = os.pipe()
    os.close(read)
    try:
        command = [sys.executable, "-m", "cgexec"]
        result = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, timeout=60)
        assert (result.returncode, result.stderr) == (0, b"")
    finally:
        os.close(write)


def test_in_a_thread_of_somebody_elses_program_signals_are_left_alone():
    def look():
        with signals_interrupt():
            return signal.getsignal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with signals_interrupt():
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(look).result(60) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_signals_wait_for_a_child_that_is_being_started(number):
    done = []

    def start():
        with signals_wait():
            signal.raise_signal(number)
            done.append(True)

    with signals_interrupt(), pytest.raises(KeyboardInterrupt):
        start()
    assert done


def test_signals_that_interrupt_nothing_are_left_alone():
    before = signal.getsignal(signal.SIGHUP)
    with signals_wait():
        assert signal.getsignal(signal.SIGHUP) is before
    with ThreadPoolExecutor(1) as pool, signals_wait():
        assert pool.submit(signal.getsignal, signal.SIGHUP).result(60) is before


def test_help_and_version():
    assert "Not libcgroup's cgexec" in run("--help")[1]
    assert run("--version")[1] == f"cgexec {cgexec.__version__}\n"
    assert "--compare" in run("report", "--help")[1]


def test_diagnosing_starts_no_thread():
    code = "import threading, cgexec._cli as c; c.main([]); assert threading.active_count() == 1"
    subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)


def test_processes_of_one_parent_are_seen_from_beside_them():
    """Real processes: two Python children of this one, in the same cgroup as the command."""
    children = [
        subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
        for _ in range(2)
    ]
    try:
        from cgexec._cli.processes import _MOST, find_siblings
        from cgexec._kernel.files import Files

        groups = find_siblings(Files())
        if not groups:
            pytest.skip(f"this process's cgroup cannot be seen, or holds more than {_MOST} processes")
        assert any(group.processes >= 2 for group in groups)
    finally:
        for child in children:
            child.communicate(timeout=30)


def test_a_cgroup_name_that_no_encoding_has_is_printed_escaped(tmp_path):
    name = b"box-\xff"
    build(tmp_path, {"proc/self/mountinfo": "30 20 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n"})
    (tmp_path / "proc/self/cgroup").write_bytes(b"0::/" + name + b"\n")
    group = tmp_path / "sys/fs/cgroup" / os.fsdecode(name)
    group.mkdir(parents=True)
    (group / "memory.max").write_text("536870912\n")
    result = python("--root", str(tmp_path), env={**os.environ, "PYTHONUTF8": "0", "LC_ALL": "C.UTF-8"})
    assert (result.returncode, result.stderr) == (0, "")
    assert "box-\\udcff/memory.max" in result.stdout


@pytest.mark.parametrize("words", [("report",), ("recommend",)])
def test_nothing_in_a_cgroups_name_reaches_the_terminal_that_it_would_act_on(tmp_path, words):
    group = "box\x1b]0;x\x07\x9b31m"
    odd = {"memory.max": "junk\n", "cpu.max": "50000 100000\n"}
    root = str(v2_machine(tmp_path, f"/{group}", {f"/{group}": odd}))
    text = printed(*words, "--root", root)
    assert "box?]0;x??31m/memory.max" in text
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    old = tmp_path / "old.json"
    old.write_text(printed("--as", POD, "--json"))
    status, out, _ = run("report", "--root", root, "--compare", str(old))
    assert status == 1
    assert "--as -> /sys/fs/cgroup/box?]0;x??31m/cpu.max" in out
    assert all(letter.isprintable() or letter == "\n" for letter in out)


def test_long_lines_are_folded_under_their_text():
    line = "  memory          81906   23.5 GiB less reserve 3.5 GiB less 13.0 MiB held now = 20.0 GiB"
    note = "  - the memory limit is 4 times the request: above 1 GiB the node has promised nothing"
    assert fold(f"short\n{line}\n{note}", 60).split("\n") == [
        "short",
        "  memory          81906   23.5 GiB less reserve 3.5 GiB less",
        "                          13.0 MiB held now = 20.0 GiB",
        "  - the memory limit is 4 times the request: above 1 GiB the",
        "    node has promised nothing",
    ]
    assert fold("/a/path/of/one/word/that/is/longer/than/the/line", 20) == (
        "/a/path/of/one/word/that/is/longer/than/the/line"
    )


def test_a_terminal_of_80_columns_gets_no_longer_line():
    pty = pytest.importorskip("pty", reason="needs a terminal")
    leader, follower = pty.openpty()
    with open(leader, "rb", closefd=True, buffering=0) as terminal:
        done = subprocess.run(
            [sys.executable, "-m", "cgexec", "--as", "cpu=2,memory=4Gi,memory-request=1Gi"],
            stdout=follower, timeout=60, env={**os.environ, "COLUMNS": "80", "TERM": "dumb"},
        )  # fmt: skip
        os.close(follower)
        shown = b""
        with contextlib.suppress(OSError):  # the end of a terminal that nobody has open
            while part := terminal.read(65536):
                shown += part
    assert done.returncode == 0
    lines = shown.decode().split("\r\n")
    assert max(len(line) for line in lines) <= 80
    assert len([line for line in lines if "less" in line]) >= 1
