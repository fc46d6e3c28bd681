"""Files and words that are not what a command expects: its exit status, one line that says why, and no traceback."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cgexec import parse_quantity
from cgexec._cli import main

CORPUS = Path(__file__).parent.parent / "corpus"
POD = ("--as", "cpu=2,memory=4Gi")


def corpus(parser):
    files = sorted((CORPUS / parser).iterdir())
    assert files
    return [pytest.param(path, id=path.stem) for path in files]


@pytest.fixture
def refused(capsys):
    """Return what runs the command line and sees that it refuses: status 2, nothing printed, one line of error."""

    def run(*words, said=""):
        assert main(words) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("cgexec-py: error: ")
        assert err.count("\n") == 1, err
        assert said in err
        assert len(err) < 600, "a line that one can read"

    return run


@pytest.fixture
def ends(capsys):
    """Return what runs the command line on any input: it answers, or refuses with one line."""

    def run(*words):
        status = main(words)
        out, err = capsys.readouterr()
        assert status in (0, 1, 2)
        assert "Traceback" not in err
        if status == 2:
            assert (out, err.count("\n")) == ("", 1)
        return status

    return run


@pytest.mark.parametrize("path", corpus("compare"))
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
def test_the_corpus_of_compare(ends, path, form):
    assert ends("report", *POD, *form, "--compare", str(path)) in (1, 2)


@pytest.mark.parametrize("path", corpus("manifest"))
@pytest.mark.parametrize("form", [(), ("--json", "--node", "cpu=8,memory=32Gi")], ids=["text", "json"])
def test_the_corpus_of_manifests(ends, path, form):
    pytest.importorskip("yaml", reason='needs PyYAML: pip install "cgexec[k8s]"')
    assert ends("manifest", str(path), *form) in (1, 2)


@pytest.mark.parametrize("path", corpus("quantity"))
def test_the_corpus_of_quantities(path):
    for line in path.read_text("utf-8").splitlines():
        with pytest.raises(ValueError, match="expected a quantity|unknown suffix"):
            parse_quantity(line)


@pytest.mark.parametrize("depth", [*range(850, 1000, 5), 2000, 5000, 9000, 50_000])
@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
def test_compare_with_what_is_nested_about_as_deep_as_python_goes(ends, tmp_path, depth, form):
    old = tmp_path / "old.json"
    for begin, end in (("[", "]"), ('{"a":', "}")):
        old.write_text('{"limits": {"a": ' + begin * depth + "1" + end * depth + "}}")
        assert ends("report", *POD, *form, "--compare", str(old)) in (1, 2)


def test_compare_with_a_folder_and_with_no_name(refused, tmp_path):
    refused("report", *POD, "--compare", str(tmp_path), said="Is a directory")
    refused("report", *POD, "--compare", "a\0b", said="null byte")


def test_a_manifest_whose_variables_multiply_takes_no_memory(capsys):
    pytest.importorskip("yaml", reason='needs PyYAML: pip install "cgexec[k8s]"')
    # Twelve variables, each ten times the one before: 10**12 characters, if they were put in.
    assert main(["manifest", str(CORPUS / "manifest" / "variables-of-variables.yaml"), "--json"]) == 1
    assert len(capsys.readouterr().out) < 1 << 20


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise RuntimeError('at import')", "raised RuntimeError: at import"),
        ("def f(:", "raised SyntaxError"),
        ("import sys; sys.exit(3)", "ended with status 3"),
        ("import sys; sys.exit('no')", "ended with status 1 (no)"),
        ("raise KeyboardInterrupt", "ended with status"),
        ("raise ValueError('two\\nlines')", "raised ValueError: two\\nlines"),
        ("import os; os._exit(0)", "ended with status 0"),
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
    ],
)
def test_profile_of_a_module_that_cannot_be_imported(refused, tmp_path, monkeypatch, body, said):
    (tmp_path / "unkind.py").write_text(body)
    monkeypatch.chdir(tmp_path)
    refused("profile", "unkind:f", "--seconds", "0.05", "--most", "1", said=said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--args", "[" * 100_000], "nested too deep"),
        (["--kwargs", '{"a":' * 100_000], "nested too deep"),
        (["--args", json.dumps("x" * 200_000)], "no process could be started for it: Argument list too long"),
        (["--kwargs", "x" * 100_000], "expected a JSON object"),
    ],
    ids=["deep", "deep-kwargs", "long", "long-kwargs"],
)
def test_profile_with_arguments_beyond_reason(refused, words, said):
    refused("profile", "os:getpid", *words, said=said)


NONSENSE = ["nan", "inf", "-1", "", "1e999", "9" * 50, "١Gi", "1\nGi", "200%", "\0", "0x10"]


@pytest.mark.parametrize("text", NONSENSE, ids=ascii)
@pytest.mark.parametrize(
    "option", ["--memory-per-task", "--reserve", "--as=cpu", "--as=memory", "--as=pids", "--as=held"]
)
def test_recommend_with_nonsense(refused, option, text):
    words = [f"{option}={text}"]
    if not option.startswith("--as"):
        words += POD
    for command in ("recommend", "report"):
        refused(command, *words)


@pytest.mark.parametrize("words", [["--io-ratio", "nan"], ["--cpu-per-task", "inf"], ["--processes", "9" * 30]])
def test_recommend_with_numbers_that_are_none(refused, words):
    refused("recommend", *POD, *words)


def test_other_commands_with_nonsense(refused, tmp_path):
    refused("env", *POD, "--callers", "9" * 30)
    refused("demo", "--memory", "nan")
    refused("demo", "--memory", "9" * 90)
    refused("watch", "--once", "x" * 300)  # Python 3.14 says so in other words
    refused("watch", "--once", str(tmp_path / "none"), said="No such file")
    refused("watch", "--once", str(CORPUS / "manifest" / "tabs.yaml"))
    refused("manifest", "a\0b", said="null byte")


SEARCH = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@SEARCH
@given(data=st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
@example(b'{"limits": {}, "host": 3, "python": [], "recommendation": null}')
def test_compare_with_any_bytes(ends, tmp_path, data):
    (tmp_path / "old.json").write_bytes(data)
    ends("report", *POD, "--compare", str(tmp_path / "old.json"))


@SEARCH
@given(sections=st.dictionaries(st.sampled_from(["limits", "host", "python", "recommendation", "usage"]), JSON))
def test_compare_with_any_json(ends, tmp_path, sections):
    (tmp_path / "old.json").write_text(json.dumps({"limits": {}} | sections))
    ends("report", *POD, "--compare", str(tmp_path / "old.json"))


@SEARCH
@given(data=st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
def test_a_manifest_of_any_bytes(ends, tmp_path, data):
    pytest.importorskip("yaml", reason='needs PyYAML: pip install "cgexec[k8s]"')
    (tmp_path / "app.yaml").write_bytes(data)
    ends("manifest", str(tmp_path / "app.yaml"))
