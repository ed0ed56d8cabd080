"""Every entry of A2E's navigation (listed in `docs/entries.py`) has a method, a route in the sandbox, and a test."""

from __future__ import annotations

import ast
import functools
import pathlib
import runpy
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

import a2e_async
from a2e_async import A2EClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from a2e_async.sandbox import Sandbox

ROOT = pathlib.Path(__file__).parents[2]
LIST = runpy.run_path(str(ROOT / "docs" / "entries.py"))
ENTRIES = LIST["ENTRIES"]

SECTIONS = {2: 5, 3: 7, 4: 8, 5: 7, 6: 3, 7: 10, 8: 5, 9: 4, 10: 5, 11: 7, 12: 5}
"""How many entries each group of the navigation has."""

ANY_ID = "66a1b2c3d4e5f60718293a01"

calls = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.number)


def test_list_is_complete() -> None:
    """There are 66 entries, in the order of the navigation, without duplicates."""
    numbers = [f"{section}.{number}" for section, count in SECTIONS.items() for number in range(1, count + 1)]
    assert [entry.number for entry in ENTRIES] == numbers
    assert len(numbers) == 66


def test_page_is_up_to_date() -> None:
    """The page is the output of ``python docs/entries.py``."""
    assert LIST["PAGE"].read_text(encoding="utf-8") == LIST["page"]()


@calls
def test_entry_has_a_method(entry: Any) -> None:
    """The method named in the table exists, and has a docstring."""
    client = A2EClient("sk_entries")
    for call in entry.calls:
        owner: Any = client if call[0].islower() else a2e_async
        method = functools.reduce(getattr, call.split("."), owner)
        assert callable(method)
        assert method.__doc__


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry.operation], ids=lambda entry: entry.number)
async def test_entry_has_a_route_in_the_sandbox(entry: Any, sandbox: Sandbox) -> None:
    """The sandbox responds with JSON, even if with an error, and not with the page of an unknown path."""
    method, path = entry.operation.replace("{_id}", ANY_ID).split()
    url = sandbox.url + (path if path.startswith("/") else f"/api/v1/{path}")
    headers = {"authorization": f"Bearer {sandbox.token}"}
    body: dict[str, str] | None = {} if method == "POST" else None
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers, json=body) as answer:
        assert answer.status < 500
        assert answer.content_type == "application/json"


@calls
def test_entry_has_a_test(entry: Any) -> None:
    """A test has the mark of this entry."""
    assert entry.number in marked_entries()


def test_marks_name_entries() -> None:
    """No test has the mark of an entry that does not exist."""
    assert marked_entries() - {entry.number for entry in ENTRIES} == set()


@functools.cache
def marked_entries() -> frozenset[str]:
    """Return the entries in the marks of the tests."""
    texts = [file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py")]
    modules = [ast.parse(text) for text in texts if "pytest.mark.entry" in text]
    return frozenset(number for module in modules for number in marks_in(module))


def marks_in(module: ast.Module) -> Iterator[str]:
    """Yield the arguments of the marks ``entry`` in a file of tests."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.entry":
                    yield from (ast.literal_eval(number) for number in mark.args)
