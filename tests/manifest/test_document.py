"""YAML by name and line; whatever is wrong with it is said with file, line and reason, and never a traceback."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

yaml = pytest.importorskip("yaml", reason='needs PyYAML: pip install "cgexec[k8s]"')

from cgexec._manifest.document import MalformedManifest, read_documents  # noqa: E402
from cgexec._manifest.output import Checked, Judged, as_dict, render  # noqa: E402
from cgexec._manifest.packing import node, pack  # noqa: E402
from cgexec._manifest.rules import Case, judge  # noqa: E402
from cgexec._manifest.sizing import Tasks, answer_for  # noqa: E402
from cgexec._manifest.workloads import pods  # noqa: E402

NODE = node("cpu=8,memory=32Gi")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: [1,\nc: }\n", "f.yaml:3: expected YAML"),
        ("a: b: c\n", "f.yaml:1: expected YAML: mapping values are not allowed here"),
        ("a:\n\tb: 1\n", "indent with blanks"),
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3: 'a' stands there twice (first in line 1)"),
        ("cpu: {{ .Values.cpu }}\n", "f.yaml:1: a key must be text; a template must be rendered first"),
        ("{{- if .Values.x }}\na: 1\n{{- end }}\n", "a template must be rendered first"),
        ("? [1, 2]\n: 3\n", "f.yaml:1: a key must be text"),
        ("a: *nobody\n", "f.yaml:1: expected YAML: found undefined alias"),
        ("a: 1\nb: \x00\n", "f.yaml:2: expected YAML: the character U+0000 is not allowed"),
        ("a: 1\n\nb: \x1b[1m\n", "f.yaml:3: expected YAML: the character U+001B is not allowed"),
        ('a: "\\UFFFFFFFF"\n', "f.yaml"),
        ("[" * 5000, "f.yaml"),
    ],
    ids=[
        "flow",
        "two-colons",
        "tab",
        "twice",
        "template",
        "template-block",
        "list-key",
        "alias",
        "nul",
        "control",
        "escape",
        "deep",
    ],
)
def test_bad_yaml_is_told_with_place_and_reason(text, said):
    with pytest.raises(MalformedManifest) as caught:
        read_documents(text.encode(), "f.yaml")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a: 1\nb: caf\xe9\nc: 2\n", "f.yaml:2: expected UTF-8, got the byte 0xe9 (invalid continuation byte)"),
        (b"\xef\xbb\xbfa: 1\nb: 2\n\xff\n", "f.yaml:3: expected UTF-8, got the byte 0xff (invalid start byte)"),
        ("a: 1\nb: Ċ\n".encode("utf-16") + b"\0", "f.yaml:3: expected UTF-16-LE, got the byte 0x00 (truncated data)"),
        ("a: 1\nb: Ċ\x01".encode("utf-16"), "f.yaml:2: expected YAML: the character U+0001 is not allowed"),
    ],
    ids=["latin-1", "after-a-mark", "utf-16", "utf-16-control"],
)
def test_what_is_no_text_is_told_with_its_line(data, said):
    with pytest.raises(MalformedManifest) as caught:
        read_documents(data, "f.yaml")
    assert str(caught.value) == said


def test_json_may_be_indented_by_tabs():
    (document,) = read_documents(b'\t{\n\t"a":\t[\n\t\t"x\\ty"\n\t]\n}\n', "f")
    assert [(item.text, item.line) for item in document.get("a").items()] == [("x\ty", 3)]
    with pytest.raises(MalformedManifest, match=r"f:3: 'a' stands there twice \(first in line 2\)"):
        read_documents(b'{\n\t"a": 1,\n\t"a": 2\n}\n', "f")
    with pytest.raises(MalformedManifest, match="f:2: expected YAML.*indent with blanks"):
        read_documents(b"{\n\t'a': 1}\n", "f")


def test_fields_know_their_lines_and_absence_is_a_field():
    (document,) = read_documents(b"a:\n  b:\n    - x\n    - 8\nc: null\n", "f")
    items = list(document.get("a", "b").items())
    assert [(item.text, item.line, item.is_string) for item in items] == [("x", 3, True), ("8", 4, False)]
    assert not document.get("a", "nothing", "below")
    assert document.get("a", "nothing").line == 2
    assert not document.get("c")
    assert document.get("a", "b").get("x").text is None


def test_merged_keys_are_found_and_own_ones_win():
    (document,) = read_documents(
        b"base: &base {cpu: 1, memory: 2}\nuse: {<<: *base, cpu: 3}\nall: {<<: [*base]}\n", "f"
    )
    assert document.get("use", "cpu").text == "3"
    assert document.get("use", "memory").text == "2"
    assert document.get("all", "memory").text == "2"


@pytest.mark.parametrize(
    "word",
    [
        "22:30", "2024-01-01", "2024-01-01T10:00:00Z", "=", "1.2.3", "yess", "ye", "tRue", "1e", "e3", "0x", "0b2", "0o8x",
        "+", ".", "+-1", "1:20:30", "_1", "v1", "0xg", "1 2", "-.e1", "nul", "._5", "'y'", '"1e3"', "!!str y",
        "|\n  1", "١",
    ],
)  # fmt: skip
def test_words_that_are_strings_to_kubernetes(word):
    assert read_documents(f"a: {word}\n".encode(), "f")[0].get("a").is_string


@pytest.mark.parametrize(
    "word",
    [
        "y", "Y", "n", "N", "yes", "No", "ON", "off", "true", "FALSE", "1", "-1", "+1", "1e3", "12345e7", "1E-3", ".5", "1.",
        "1_000", "0x1F", "0b101", "-0b1", "0o17", "017", "08", ".inf", "+.Inf", "-.INF", ".NaN", "!!int 1",
    ],
)  # fmt: skip
def test_words_that_are_none(word):
    field = read_documents(f"a: {word}\n".encode(), "f")[0].get("a")
    assert field.is_written
    assert not field.is_string


def test_null_is_nothing_in_each_spelling():
    for word in ("", "~", "null", "Null", "NULL"):
        field = read_documents(f"a: {word}\n".encode(), "f")[0].get("a")
        assert field.is_written
        assert field.text is None


def test_tags_build_nothing():
    (document,) = read_documents(b"a: !!python/object/apply:os.system ['exit 3']\n", "f")
    assert document.get("a").text is None


def test_a_list_that_holds_itself_ends():
    (document,) = read_documents(b"&a\nkind: List\nitems: [*a, *a]\n", "f")
    assert list(pods(document, "f")) == []


def check_everything(data):
    """Read, judge and print *data* the way the command does; only the one error may come out."""
    try:
        documents = read_documents(data, "f")
    except MalformedManifest:
        return
    checked = []
    for pod in (pod for document in documents for pod in pods(document, "f")):
        for tasks, where in ((Tasks(), None), (Tasks("200Mi", 0.9, seconds=300.0), NODE)):
            judged = []
            for container in pod.containers:
                answer = answer_for(container, tasks, where)
                judged.append(Judged(container, answer, tuple(judge(Case(pod, container, answer, tasks)))))
            checked.append(Checked(pod, tuple(judged), None if where is None else pack(pod, where)))
    assert render(checked, NODE)
    assert as_dict(checked)


KEYS = st.sampled_from(
    [
        "kind",
        "metadata",
        "name",
        "spec",
        "template",
        "jobTemplate",
        "containers",
        "initContainers",
        "resources",
        "limits",
        "requests",
        "cpu",
        "memory",
        "env",
        "value",
        "valueFrom",
        "resourceFieldRef",
        "resource",
        "divisor",
        "items",
        "restartPolicy",
        "terminationGracePeriodSeconds",
        "args",
        "lifecycle",
        "preStop",
        "exec",
        "command",
        "sleep",
        "seconds",
    ]
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
    st.sampled_from([
        "List", "CronJob", "Always", "100m", "4Gi", "512m", "0", "-1", "1e30", "1n", "limits.cpu", "requests.memory",
        "$(A)", "$$", "$(", "gunicorn -w 4 --threads 'x", "CGEXEC_CPUS", "CGEXEC_MEMORY", "CGEXEC_PROCESSES", "A",
        "OMP_NUM_THREADS", "CGEXEC_CPU_REQUEST", "CGEXEC_MAX_WORKERS", "99999999999999999999",
    ]),
)  # fmt: skip
SHAPES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=12
)


def deployment(container):
    return {"kind": "Deployment", "spec": {"template": {"spec": {"containers": [container, {"name": "other"}]}}}}


CONTAINERS = st.fixed_dictionaries(
    {},
    optional={
        "name": SCALARS,
        "resources": st.dictionaries(
            st.sampled_from(["limits", "requests"]),
            st.dictionaries(st.sampled_from(["cpu", "memory"]), SCALARS) | SCALARS,
        ),
        "env": st.lists(st.dictionaries(KEYS, SHAPES, max_size=3) | st.fixed_dictionaries({"name": SCALARS, "value": SCALARS})),
        "command": st.lists(SCALARS),
    },
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@example(b"\xff\xfe\x00")
@example(b"%YAML 1.9999999999999999999999\n---\na")
@example(b"a: !!float 1:2:3e999999\n")
@example(b"- &a [*a]\n")
def test_no_bytes_raise_anything_else(data):
    check_everything(data)


@settings(max_examples=300, deadline=None)
@given(SHAPES | CONTAINERS.map(deployment))
def test_no_shape_raises_anything(shape):
    check_everything(yaml.safe_dump(shape).encode())


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_broken_manifest_raises_anything(data):
    text = yaml.safe_dump(data.draw(CONTAINERS.map(deployment))).encode()
    at = data.draw(st.integers(0, len(text)))
    check_everything(text[:at] + data.draw(st.binary(max_size=3)) + text[at + data.draw(st.integers(0, 3)) :])
