"""The tests of what decides: no event loop, no socket, no sleep. Hypothesis draws the same examples every time."""

from __future__ import annotations

import hypothesis

hypothesis.settings.register_profile("repeatable", max_examples=300, deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("repeatable")
