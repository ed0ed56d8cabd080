"""The front door of the models: each name is imported when it is first asked for."""

from __future__ import annotations

import pytest

from a2e_async import models


def test_every_name_is_there() -> None:
    """Each public model can be had by its name."""
    assert all(hasattr(models, name) for name in models.__all__)


def test_other_names_are_not() -> None:
    """A name that is no model is told as Python tells it."""
    with pytest.raises(AttributeError, match="has no attribute 'Nobody'"):
        getattr(models, "Nobody")  # noqa: B009  mypy knows better
