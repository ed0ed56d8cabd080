"""Virtual time and a local A2E for tests: of this package, and of programs that use it.

pytest loads the plugin by itself: the mark ``virtual_time`` and the fixtures ``a2e_sandbox``, ``a2e_client`` and
``a2e_clock``. Other test frameworks use `virtual_time` and `a2e_async.sandbox.Sandbox` directly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from a2e_async.testing.clock import VirtualClock, virtual_time

__all__ = ["VirtualClock", "virtual_time"]


def __getattr__(name: str) -> object:
    """Import a name on first use."""
    # pytest imports the plugin, and this module with it, in every run: the import must be cheap.
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from a2e_async.testing import clock  # noqa: PLC0415  see above

    return getattr(clock, name)
