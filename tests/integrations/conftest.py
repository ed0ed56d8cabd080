"""Fixtures for tests of web applications: a task that goes on until a test ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from paid_starts import start_video

if TYPE_CHECKING:
    from a2e_async import A2EClient, ImageToVideoRecord, TaskHandle


@pytest.fixture
async def stuck(a2e: A2EClient) -> TaskHandle[ImageToVideoRecord]:
    """Start a task that does not end by itself."""
    return await start_video(a2e, prompt="#stuck")
