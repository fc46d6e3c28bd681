"""
YAML with line numbers: a document as fields that one can ask for by name, whatever shape it really has.

Only nodes are built, never Python objects, so nothing in a file is run: PyYAML's safe loader, composing. What a plain
word is (a number, true) is taken as Kubernetes takes it, whose YAML is another than PyYAML's.
"""

import codecs
import functools
import json
import re
from collections.abc import Iterator
from typing import Any

from cgexec._extras import extra

__all__ = ["MOST_BYTES", "Field", "MalformedManifest", "read_documents"]

# A file of more is no manifest; a rendered cluster is some megabytes.
MOST_BYTES = 64 << 20
# What "{{ .Values.x }}" is to YAML, where it is YAML at all: a mapping with a mapping as its key.
_TEMPLATE = "; a template must be rendered first: helm template CHART | python -m cgexec manifest -"
_TAG = "tag:yaml.org,2002:"
_NULL, _STRING, _MERGE = f"{_TAG}null", f"{_TAG}str", f"{_TAG}merge"
# What kubernetes-sigs/yaml makes of a plain word (goyaml.v2/resolve.go). There is no base 60, and dates stay strings.
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), _NULL),
    **{
        spelled: f"{_TAG}bool"
        for word in ("y", "yes", "true", "on", "n", "no", "false", "off")
        for spelled in (word, word.capitalize(), word.upper())
    },
    **{
        f"{sign}.{word}": f"{_TAG}float"
        for sign, words in (("", (".nan", ".NaN", ".NAN")), *((s, (".inf", ".Inf", ".INF")) for s in ("", "+", "-")))
        for word in (each[1:] for each in words)
    },
    "<<": _MERGE,
}
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
# Go's integers with a prefix; those without are like a float.
_INTEGER = re.compile(r"[-+]?0(?:[xX][0-9a-fA-F]{1,16}|[oO][0-7]{1,22}|[bB][01]{1,64})")


class MalformedManifest(ValueError):
    """A file is no YAML that Kubernetes would read; the text begins with file and line."""


class Field:
    """
    A value at its place, or the absence of one.

    Asking for what is not there, or is of another shape, gives an absent field with the line of what was asked.
    """

    __slots__ = ("_node", "line")

    def __init__(self, node: Any, line: int) -> None:  # a yaml.Node; the package is optional
        self._node = node
        self.line = line

    def __bool__(self) -> bool:
        return self._node is not None and self._node.tag != _NULL

    @property
    def is_written(self) -> bool:
        """Whether it stands there, as null too."""
        return self._node is not None

    @property
    def text(self) -> str | None:
        """The text of a scalar, as written; None for anything else and for null."""
        return str(self._node.value) if self and self._node.id == "scalar" else None

    @property
    def is_string(self) -> bool:
        """Whether Kubernetes reads the scalar as a string (``8`` and ``true`` are none, ``"8"`` is)."""
        return bool(self) and self._node.tag == _STRING

    @property
    def is_mapping(self) -> bool:
        """Whether it has keys."""
        return self._node is not None and self._node.id == "mapping"

    def get(self, *path: str) -> "Field":
        """Return the field under these keys."""
        field = self
        for key in path:
            found = _find(field._node, key, set()) if field.is_mapping else None
            field = Field(None, field.line) if found is None else Field(found, found.start_mark.line + 1)
        return field

    def items(self) -> Iterator["Field"]:
        """Yield the items of a sequence; nothing for anything else."""
        if self._node is not None and self._node.id == "sequence":
            for node in self._node.value:
                yield Field(node, node.start_mark.line + 1)

    @property
    def identity(self) -> int:
        """The same for every alias of one node."""
        return id(self._node)


def _find(node: Any, key: str, seen: set[int]) -> Any:
    """Return the node under *key*, of the mapping itself or else of those it merges (``<<``), each looked at once."""
    if node is None or id(node) in seen or node.id not in ("mapping", "sequence"):
        return None
    seen.add(id(node))
    if node.id == "sequence":  # a list of mappings to merge: the first that has the key
        return next((found for one in node.value if (found := _find(one, key, seen)) is not None), None)
    for name, value in node.value:
        if name.value == key:
            return value
    merged = [value for name, value in node.value if name.tag == _MERGE]
    return next((found for one in merged if (found := _find(one, key, seen)) is not None), None)


def _plain_tag(word: str) -> str:
    """Return what an unquoted scalar is."""
    tag = _WORDS.get(word)
    if tag is not None or word[:1] not in "+-.0123456789":
        return tag or _STRING
    digits = word if word[0] == "." else word.replace("_", "")
    return f"{_TAG}float" if _FLOAT.fullmatch(digits) or _INTEGER.fullmatch(digits) else _STRING


@functools.cache
def _loader() -> Any:  # a class of yaml's; the package is optional
    import yaml

    class Loader(yaml.SafeLoader):
        def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
            if kind is yaml.ScalarNode and implicit[0]:
                return _plain_tag(value)
            return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]

    return Loader


def read_documents(data: bytes, name: str) -> list[Field]:
    """
    Return the documents of a file, empty ones left out.

    Args:
        data: the file; UTF-8, or UTF-16 with a byte order mark.
        name: what errors call it.

    Raises:
        MalformedManifest: no YAML, nested beyond reason, or keys that Kubernetes refuses (twice the same, or no text).
        MissingExtra: PyYAML is not installed.
    """
    with extra("k8s", "manifest", "PyYAML"):
        import yaml
    if len(data) > MOST_BYTES:
        raise MalformedManifest(f"{name}: a manifest has at most {MOST_BYTES >> 20} MiB, this has more")
    text = _text(data, name)
    try:
        nodes = [node for node in yaml.compose_all(text, Loader=_loader()) if node is not None]
        for node in nodes:
            _check_keys(node, name, set())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        raise MalformedManifest(f"{name}:{line}: {_reason(error)}{_hint(text, line)}") from None
    except RecursionError:
        raise MalformedManifest(f"{name}: nested too deep to be a manifest") from None
    except MalformedManifest:
        raise
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        what = f"the character U+{ord(text[error.position]):04X} is not allowed"
        raise MalformedManifest(f"{name}:{line}: expected YAML: {what}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # PyYAML's own slips on odd escapes
        reason = " ".join(str(error).split())
        raise MalformedManifest(f"{name}: expected YAML: {reason}") from None
    return [field for node in nodes if (field := Field(node, node.start_mark.line + 1))]


def _text(data: bytes, name: str) -> str:
    """Return the file as text that YAML takes if Kubernetes does."""
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].decode(error.encoding, "ignore").count("\n") + 1
        what = f"the byte 0x{error.object[error.start]:02x} ({error.reason})"
        raise MalformedManifest(f"{name}:{line}: expected {error.encoding.upper()}, got {what}") from None
    # JSON may be indented by tabs, YAML may not. No string of JSON has one as such, so a blank does as well.
    return text.replace("\t", " ") if "\t" in text and _is_json(text) else text


def _is_json(text: str) -> bool:
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _reason(error: Any) -> str:
    parts = [part for part in (error.problem, error.context) if part]
    return "expected YAML: " + " ".join(", ".join(parts).split())


def _hint(text: str, line: int) -> str:
    lines = text.split("\n")
    if "{{" in "\n".join(lines[max(0, line - 2) : line + 1]):
        return _TEMPLATE
    return "; indent with blanks" if "\t" in "\n".join(lines[max(0, line - 1) : line]) else ""


def _check_keys(node: Any, name: str, seen: set[int]) -> None:
    """Refuse what YAML has and JSON has not: a key that stands twice, and one that is no text."""
    if id(node) in seen or node.id == "scalar":
        return
    seen.add(id(node))
    if node.id == "sequence":
        for one in node.value:
            _check_keys(one, name, seen)
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.id != "scalar":
            raise MalformedManifest(f"{name}:{line}: a key must be text{_TEMPLATE if key.id == 'mapping' else ''}")
        if key.tag != _MERGE:
            if key.value in lines:
                first = lines[key.value]
                raise MalformedManifest(f"{name}:{line}: {key.value!r} stands there twice (first in line {first})")
            lines[key.value] = line
        _check_keys(value, name, seen)
