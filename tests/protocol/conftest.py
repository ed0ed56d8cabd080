"""All tests of `_protocol` are tests of pure modules."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

_HERE = pathlib.Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder; a fixture in `tests/conftest.py` does the rest."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker("pure")
