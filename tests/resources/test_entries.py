"""Every entry of A2E's navigation, of which `docs/entries.py` has the list, can be called, is answered and is tested."""

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


def test_the_list_is_whole() -> None:
    """There are 66 entries, in the order of the navigation, none twice."""
    numbers = [f"{section}.{number}" for section, count in SECTIONS.items() for number in range(1, count + 1)]
    assert [entry.number for entry in ENTRIES] == numbers
    assert len(numbers) == 66


def test_the_page_is_up_to_date() -> None:
    """It is what ``python docs/entries.py`` writes."""
    assert LIST["PAGE"].read_text(encoding="utf-8") == LIST["page"]()


@calls
def test_an_entry_has_a_method(entry: Any) -> None:
    """What the table says can be called is there, and says what it does."""
    client = A2EClient("sk_entries")
    for call in entry.calls:
        owner: Any = client if call[0].islower() else a2e_async
        method = functools.reduce(getattr, call.split("."), owner)
        assert callable(method)
        assert method.__doc__


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry.operation], ids=lambda entry: entry.number)
async def test_an_entry_has_a_route_in_the_sandbox(entry: Any, sandbox: Sandbox) -> None:
    """The sandbox knows the operation: it answers JSON, be it a refusal, and not the page of a wrong route."""
    method, path = entry.operation.replace("{_id}", ANY_ID).split()
    url = sandbox.url + (path if path.startswith("/") else f"/api/v1/{path}")
    headers = {"authorization": f"Bearer {sandbox.token}"}
    body: dict[str, str] | None = {} if method == "POST" else None
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers, json=body) as answer:
        assert answer.status < 500
        assert answer.content_type == "application/json"


@calls
def test_an_entry_has_a_test(entry: Any) -> None:
    """Some test says, by its mark, that it is about this entry."""
    assert entry.number in marked()


def test_marks_name_entries() -> None:
    """No test is about an entry that does not exist."""
    assert marked() - {entry.number for entry in ENTRIES} == set()


@functools.cache
def marked() -> frozenset[str]:
    """Return the entries that the tests are about."""
    texts = [file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py")]
    modules = [ast.parse(text) for text in texts if "pytest.mark.entry" in text]
    return frozenset(number for module in modules for number in marks_of(module))


def marks_of(module: ast.Module) -> Iterator[str]:
    """Yield the arguments of the marks ``entry`` of a file's tests."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.entry":
                    yield from (ast.literal_eval(number) for number in mark.args)
