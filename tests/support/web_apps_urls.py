"""The URLs of the Django application of `web_apps`, which sets them."""

from __future__ import annotations

from typing import Any

urlpatterns: list[Any] = []
