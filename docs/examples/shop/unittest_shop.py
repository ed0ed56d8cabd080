"""Tests of the shop without pytest: ``python -m unittest unittest_shop.py``."""

from __future__ import annotations

import pathlib
import tempfile
import unittest

from shop import deliver

from a2e_async import A2EClient
from a2e_async.sandbox import Sandbox
from a2e_async.testing import virtual_time


class ShopTest(unittest.IsolatedAsyncioTestCase):
    """Every test of this class runs on virtual time."""

    def run(self, result: unittest.TestResult | None = None) -> unittest.TestResult | None:
        """Start virtual time before the event loop of a test is created."""
        with virtual_time():
            return super().run(result)

    async def asyncSetUp(self) -> None:
        """Start a local A2E, and open a client for it."""
        self.sandbox = await self.enterAsyncContext(Sandbox(render="tiny", seed=1))
        self.a2e = await self.enterAsyncContext(A2EClient(self.sandbox.token, base_url=self.sandbox.url))
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

    async def test_delivery(self) -> None:
        """An order ends with a video, and costs 30 coins."""
        message = await deliver(self.a2e, "17", "https://example.com/ada.png", self.folder)
        self.assertEqual(message, "Your video is order-17.mp4.")
        self.assertEqual(self.sandbox.coins, 10_000 - 30)


if __name__ == "__main__":
    unittest.main()
