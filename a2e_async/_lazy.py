"""Names that a package imports at their first use, so that ``import a2e_async`` does not read everything."""

# How it works: the table of a package says in which module each of its names is. `importer` makes the package's
# `__getattr__` from it (PEP 562). A type checker does not see the table: it reads imports under ``TYPE_CHECKING``, and
# the `__getattr__` is hidden from it, since with one it would accept any name.
#
# Modules that need the names write ``from a2e_async import models`` and ``models.VoiceRecord``, the latter only in
# functions and in annotations that are not evaluated at once.
#
# A running event loop must not read modules from disk. So a thread imports the models, and cattrs, while the first
# request of a client is under way (`HttpTransport`), and the runner of batches before the first batch (`BatchRun`).

import gc
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def importer(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package.

    Args:
        package: Its ``__name__``.
        modules: Name -> the module below the package that has it.
    """

    def import_name(name: str) -> Any:  # noqa: ANN401  any object
        module = modules.get(name)
        if module is None:
            msg = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(msg)
        # Python would look for garbage after every few hundred new objects, and find none. That takes a fifteenth of
        # the time to import the client.
        collects = gc.isenabled()
        gc.disable()
        try:
            value = getattr(import_module(f"{package}.{module}"), name)
        finally:
            if collects:
                gc.enable()
        setattr(import_module(package), name, value)
        return value

    return import_name
