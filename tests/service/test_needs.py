"""Says why the service's tests did not run, where they did not."""

import importlib.util

import pytest


@pytest.mark.parametrize("name", ["fastapi", "uvicorn", "websockets", "tenacity", "httpx", "prometheus_client"])
def test_the_service_has_what_it_needs(name):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"the tests of examples/fastapi_service need {name}: pip install 'cgexec[service]'")
