"""What a job returns can be fetched, or its end says why not."""

import math

import pytest
from fastapi_service import wire
from fastapi_service.app import create_app
from fastapi_service.settings import Settings

from support.app import asking, until
from support.jobs import within

CANNOT = "ValueError: the result cannot be sent as JSON: "


def nested(depth):
    found = None
    for _ in range(depth):
        found = [found]
    return found


def circle():
    found = []
    found.append(found)
    return found


def outcome(work, does, path):
    """Return what a client gets who asks for a job that does *work*."""

    async def main():
        async with asking(create_app(Settings(database=str(path), grace=6))) as client:
            assert (await client.get("/process/a")).status_code == 202
            found = await until(client, "a", "completed", "failed")
            assert (await client.get("/process/a")).json() == found
            return found

    does(work)
    return within(main())


@pytest.mark.parametrize("file", ["", "jobs.db"], ids=["memory", "sqlite"])
@pytest.mark.parametrize(
    ("result", "why"),
    [
        ({"name": "caf\udce9.txt"}, "'utf-8' codec can't encode character '\\udce9'"),
        ({"\udce9": 1}, "'utf-8' codec can't encode character '\\udce9'"),
        ([math.nan], "Out of range float values are not JSON compliant"),
        ({"share": -math.inf}, "Out of range float values are not JSON compliant"),
        (object(), "Object of type object is not JSON serializable"),
    ],
    ids=["surrogate", "surrogate key", "nan", "inf", "object"],
)
def test_a_job_whose_result_nobody_could_fetch_fails_and_says_so(does, tmp_path, result, why, file):
    job = outcome(lambda *_: result, does, file and tmp_path / file)
    assert (job["state"], job["result"]) == ("failed", None)
    assert job["error"].startswith(CANNOT + why)


@pytest.mark.parametrize("result", [None, "café 😀\0", 10**400, 1.5e300, nested(300), {"a": [True, None]}])
def test_whatever_passes_can_be_fetched(does, tmp_path, result):
    job = outcome(lambda *_: result, does, tmp_path / "jobs.db")
    assert (job["state"], job["result"]) == ("completed", result)


@pytest.mark.parametrize("result", [circle(), nested(100_000)], ids=["circle", "deep"])
def test_what_has_no_end_is_refused_too(result):
    with pytest.raises(ValueError, match="the result cannot be sent as JSON"):
        wire.check(result)
