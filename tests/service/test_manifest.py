"""The manifest and the Dockerfile fit the service."""

from pathlib import Path

import fastapi_service.settings as told
import pytest
from fastapi_service.settings import Settings

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
