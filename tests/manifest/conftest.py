"""What the tests of the command share."""

import json

import pytest

from cgexec._cli import main


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
