"""The service goes on, or says what it lacks, where its process does not get everything it asks for."""

import asyncio
import threading

from fastapi_service.app import create_app
from fastapi_service.settings import Settings

from support.app import asking
from support.jobs import within
from support.service import SOON


def application(**settings):
    return create_app(Settings(**settings, grace=6))


def test_a_store_that_cannot_be_looked_through_at_the_start_is_looked_through_later(monkeypatch):
    """Where one process does not start, uvicorn ends them all."""

    def recover():
        looks.append("once more")
        if len(looks) == 1:
            raise OSError("disk full")
        again.set()
        return 0

    async def main():
        app = application()
        monkeypatch.setattr(app.state.service.store, "recover", recover)
        async with asking(app) as client:
            assert await asyncio.to_thread(again.wait, SOON)
            assert (await client.get("/readyz")).status_code == 200

    looks, again = [], threading.Event()
    within(main())
