"""The lazy imports of `a2e_async.models`."""

from __future__ import annotations

import pytest

from a2e_async import models


def test_every_name_is_there() -> None:
    """Every public model can be imported by its name."""
    assert all(hasattr(models, name) for name in models.__all__)


def test_other_names_are_not() -> None:
    """A name that is not a model raises the usual AttributeError."""
    with pytest.raises(AttributeError, match="has no attribute 'Unknown'"):
        getattr(models, "Unknown")  # noqa: B009  mypy knows better
