"""What several groups share: finding a task, being able to pay, and paging in the style P1 (reference 1.7)."""

import re
from collections.abc import Sequence
from typing import Final, TypeVar

from aiohttp import web

from a2e_async.sandbox.envelopes import Refusal
from a2e_async.sandbox.gate import API
from a2e_async.sandbox.state import State, Task

Row = TypeVar("Row")

PREFIX: Final = f"{API}/userImage2Video"
_ID: Final = re.compile(r"[0-9a-f]{24}")


def find_task(state: State, request: web.Request) -> Task:
    """Find the task of a path. A malformed id is a 400 (reference 1.5), a missing task a 404 in JSON."""
    task_id = request.match_info["_id"]
    if not _ID.fullmatch(task_id):
        raise Refusal(400, "Bad Request", [{"field": "_id", "message": "_id is malformed"}])
    task = state.find(task_id)
    if task is None:
        raise Refusal(404, "Record not found")
    return task


def refuse_if_poor(state: State, coins: int) -> None:
    """Refuse what cannot be paid. The template is unpublished; we answer 400, as Head Swap does (reference 1.5)."""
    if state.coins < coins:
        raise Refusal(400, f"Insufficient credits: {coins} coins needed, {state.coins} left")


def _positive(request: web.Request, name: str, default: int, most: int | None = None) -> int:
    """Read a number from the query; A2E refuses bad paging with 400 (reference 9.3)."""
    text = request.query.get(name, str(default))
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1 or (most is not None and number > most):
        limit = "a positive integer" if most is None else f"an integer from 1 to {most}"
        raise Refusal(400, "Bad Request", [{"field": name, "message": f"{name} must be {limit}"}])
    return number


def page(request: web.Request, rows: Sequence[Row], most: int | None = None) -> Sequence[Row]:
    """Cut the page out of `rows` that the query asks for."""
    number = _positive(request, "pageNum", 1)
    size = _positive(request, "pageSize", 10, most)
    return rows[(number - 1) * size : number * size]
