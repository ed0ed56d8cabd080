"""What applications and frameworks read from the public names: annotations that resolve, and names that can be imported."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import a2e_async
from a2e_async import errors, resources

MODULES = [
    "a2e_async",
    "a2e_async.batch",
    "a2e_async.config",
    "a2e_async.errors",
    "a2e_async.events",
    "a2e_async.files",
    "a2e_async.integrations",
    *(
        f"a2e_async.integrations.{name}"
        for name in (
            "aiohttp",
            "blocking",
            "django",
            "fastapi",
            "flask",
            "litestar",
            "opentelemetry",
            "quart",
            "starlette",
        )
    ),
    "a2e_async.models",
    "a2e_async.sandbox",
    "a2e_async.tasks",
    "a2e_async.testing",
    "a2e_async.webhooks",
    *(f"a2e_async.resources.{module.name}" for module in pkgutil.iter_modules(resources.__path__)),
]


def public_objects() -> Iterator[tuple[str, Any]]:
    """Yield each function, class and alias in the `__all__` of a public module, with its name."""
    for module in map(importlib.import_module, MODULES):
        for name in sorted(getattr(module, "__all__", [])):
            yield f"{module.__name__}.{name}", getattr(module, name)


def public_callables() -> dict[str, Callable[..., Any]]:
    """Return the public functions and classes, with the public methods of the classes."""
    found: dict[str, Callable[..., Any]] = {}
    for name, value in public_objects():
        if inspect.isfunction(value) or inspect.isclass(value):
            found[name] = value
        if inspect.isclass(value):
            for key in dir(value):
                member = inspect.getattr_static(value, key)
                member = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
                is_ours = (getattr(member, "__module__", None) or "").startswith("a2e_async")
                if (
                    isinstance(member, types.FunctionType)
                    and is_ours
                    and (not key.startswith("_") or key == "__init__")
                ):
                    found[f"{name}.{key}"] = member
    return found


CALLABLES = public_callables()


def test_walk_finds_the_public_callables() -> None:
    """The tests below go through all resources, records, errors and settings."""
    assert len(CALLABLES) > 500
    assert "a2e_async.resources.image_to_video.ImageToVideo.start" in CALLABLES
    assert "a2e_async.TaskHandle.wait_until_done" in CALLABLES
    assert "a2e_async.models.VoiceRecord.__init__" in CALLABLES


@pytest.mark.parametrize("name", CALLABLES)
def test_annotations_resolve(name: str) -> None:
    """`typing.get_type_hints` works: FastAPI, pydantic, cyclopts and dependency injectors call it."""
    assert isinstance(typing.get_type_hints(CALLABLES[name]), dict)


def test_names_in_the_signatures_of_the_client_are_exported() -> None:
    """What `A2EClient`, `TaskHandle` and `image_to_video` take and return can be imported from a public module."""
    exported = {id(value) for _, value in public_objects()}
    hidden = set()
    for name, member in CALLABLES.items():
        if inspect.isfunction(member) and not name.endswith("__init__") and _is_of_the_client(name):
            for hint in typing.get_type_hints(member).values():
                hidden |= {
                    f"{name}: {part.__qualname__}"
                    for part in _parts(hint)
                    if inspect.isclass(part) and part.__module__.startswith("a2e_async") and id(part) not in exported
                }
    assert not hidden


def _is_of_the_client(name: str) -> bool:
    """Tell whether users meet a callable through the client: the bases and inputs of resources are not imported by them."""
    if name.startswith("a2e_async.resources."):
        group, owner = name.split(".")[2:4]
        return owner[0].isupper() and group not in {"base", "batches", "inputs", "task_resource"}
    return name.startswith(("a2e_async.A2EClient", "a2e_async.TaskHandle"))


def _parts(hint: Any) -> Iterator[Any]:
    """Yield the types of which an annotation is made."""
    yield typing.get_origin(hint) or hint
    for part in typing.get_args(hint):
        if isinstance(part, list):
            yield from part
        else:
            yield from _parts(part)


def test_front_door_is_sorted() -> None:
    """`a2e_async.__all__` is sorted, the errors behind the rest, and each of its names can be imported."""
    rest = a2e_async.__all__[: -len(errors.__all__)]
    assert a2e_async.__all__ == rest + errors.__all__
    for names in (rest, errors.__all__):
        assert names == sorted(names, key=lambda name: (name.startswith("_"), name.lower()))
    assert all(hasattr(a2e_async, name) for name in a2e_async.__all__)
