"""The example service in the test's own loop, asked without a network."""

import contextlib
import gc
from collections.abc import AsyncIterator

import httpx
from fastapi import FastAPI

from support.service import SOON

__all__ = ["asking", "until"]


@contextlib.asynccontextmanager
async def asking(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Run the application until the end of the block, for a client."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    try:
        async with (
            app.state.service.lifespan(app),
            httpx.AsyncClient(transport=transport, base_url="http://service", timeout=SOON) as client,
        ):
            yield client
    finally:
        gc.unfreeze()  # the service freezes what there is, which here is the tests'


async def until(client: httpx.AsyncClient, job_id: str, *states: str) -> dict:
    """Ask until the job is in one of the states, and return it."""
    while True:
        job = (await client.get(f"/jobs/{job_id}")).json()
        if job["state"] in states:
            return job
