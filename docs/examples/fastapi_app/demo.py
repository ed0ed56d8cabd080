"""The application with a local A2E in the same process: ``uvicorn demo:app``. Needs no token and costs nothing."""

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator

from fastapi import FastAPI

from a2e_async.sandbox import Sandbox

PORT = int(os.environ.get("SANDBOX_PORT", "8900"))
TOKEN = "sk_sandbox"  # noqa: S105  a token for play money

folder = tempfile.TemporaryDirectory()  # a restart forgets the videos, as the sandbox does
os.environ |= {"A2E_API_TOKEN": TOKEN, "A2E_BASE_URL": f"http://127.0.0.1:{PORT}", "VIDEOS_FOLDER": folder.name}

from app import app as application  # noqa: E402  it reads the environment


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Open the sandbox before the application, and close it last."""
    async with Sandbox(port=PORT, token=TOKEN, speed=3), application.router.lifespan_context(application):
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/", application)
