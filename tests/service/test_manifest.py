"""The manifest, the Dockerfile and what is installed in it fit the service."""

import re
import tomllib
from pathlib import Path

import fastapi_service.settings as told
import pytest
from fastapi_service.settings import Settings

from support.lab import PROJECT

FOLDER = Path(told.__file__).parent


@pytest.fixture
def spec():
    yaml = pytest.importorskip("yaml")
    deployment, service = yaml.safe_load_all((FOLDER / "k8s.yaml").read_text())
    assert service["kind"] == "Service"
    return deployment["spec"]


@pytest.fixture
def pod(spec):
    return spec["template"]["spec"]


def test_the_grace_is_the_same_on_both_sides_and_fits_a_job(pod):
    (container,) = pod["containers"]
    environ = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    settings = Settings.from_environ(environ)
    command, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    assert settings.grace + int(seconds) == pod["terminationGracePeriodSeconds"]
    assert settings.grace - 5 > settings.job_seconds


def test_the_pod_is_the_one_that_the_library_answers_20_for(pod, capsys):
    (container,) = pod["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "0.1", "memory": "1Gi", "ephemeral-storage": "1Gi"},
        "limits": {"cpu": "2", "memory": "4Gi"},
    }
    from cgexec._cli import main

    assert main(["recommend", "--as", "cpu=2,memory=4Gi", "--cpu-per-task", "0.1", "--format", "number"]) == 0
    assert capsys.readouterr().out == "20\n"


def test_every_variable_in_it_is_known(pod):
    (container,) = pod["containers"]
    names = {each["name"] for each in container["env"]}
    known = {name.upper() for name in Settings.__slots__} | {
        "CGEXEC_CPU_REQUEST",
        "CGEXEC_MEMORY_REQUEST",
        "REQUEST_MILLI",
    }
    assert names <= known


def test_one_pod_with_a_store_of_its_own_is_replaced_not_doubled(spec):
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate")


def test_it_runs_with_the_rights_that_the_image_is_made_for(pod):
    (container,) = pod["containers"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    user = pod["securityContext"]["runAsUser"]
    assert pod["securityContext"]["fsGroup"] == user
    image = (FOLDER / "Dockerfile").read_text()
    assert f"useradd --uid {user} " in image
    assert f"USER {user}\n" in image


def test_the_command_is_not_behind_a_shell():
    assert 'CMD ["python", "-m", "fastapi_service"]' in (FOLDER / "Dockerfile").read_text()


def bounds(lines):
    """Return the oldest release of each package that is needed."""
    return dict(re.fullmatch(r"([a-z-]+)(?:\[.*\])?>=([0-9.]+)", line).groups() for line in lines)


@pytest.fixture
def extra():
    """The oldest of each package that the service needs."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return bounds(project["optional-dependencies"]["service"])


def test_the_image_has_what_the_tests_are_run_with(extra):
    image = bounds((FOLDER / "requirements.txt").read_text().split()[1:])
    assert image.items() <= extra.items()


def test_what_is_said_to_be_the_oldest_is_tested(extra):
    pins = PROJECT / ".ci" / "oldest-service.txt"
    if not pins.exists():
        pytest.skip("a source archive has no .ci")
    pinned = dict(re.findall(r"^([a-z-]+)==([0-9.]+)$", pins.read_text(), re.MULTILINE))
    assert extra == {name: version.removesuffix(".0") for name, version in pinned.items() if name in extra}
