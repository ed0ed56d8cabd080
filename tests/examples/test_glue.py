"""The lines with which an application of the examples uses the package, beside its own handlers and database."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import example_apps
import pytest

if TYPE_CHECKING:
    import pathlib

MOST = 14

OWN = {
    *("query", "start", "show", "show_all", "show_one", "events", "video", "result"),
    *("Order", "Videos", "Message", "Terminal", "_read_attachment", "order", "answer"),
}
"""Functions and classes that the application has in any case: its handlers, its database, its forms, its chat."""


def glue(path: pathlib.Path) -> int:
    """Count the statements that mention the package or each other, outside of `OWN`; imports, docstrings and the block of a main program are none."""
    names: set[str] = set()
    count = 0
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        match statement:
            case ast.ImportFrom(module=str(module)) if module.startswith("a2e_async"):
                names |= {alias.name for alias in statement.names}
            case ast.Import() | ast.ImportFrom() | ast.Expr(ast.Constant()) | ast.If():
                pass
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                if name not in OWN:
                    names.add(name)
                    count += _lines(statement)
            case _:
                mentioned = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
                if names & {name.id for name in mentioned}:
                    names |= {name.id for name in mentioned if isinstance(name.ctx, ast.Store)}
                    count += _lines(statement)
    return count


def _lines(statement: ast.stmt) -> int:
    """Count the lines of a statement, each simple statement as one, without its docstrings."""
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and ast.get_docstring(node):
            del node.body[0]
    return len(ast.unparse(statement).splitlines())


@pytest.mark.pure
@pytest.mark.parametrize(
    "names",
    [
        ("aiohttp_app/app.py",),
        ("bot.py",),
        ("fastapi_app/app.py",),
        ("django_app/asgi.py", "django_app/videos/waits.py"),
        ("flask_app/app.py",),
        ("litestar_app/app.py",),
    ],
    ids=lambda names: names[0],
)
def test_glue_is_short(names: tuple[str, ...]) -> None:
    """An application needs a few lines for background waits, restarts, live status, errors and a clean end."""
    assert sum(glue(example_apps.EXAMPLES / name) for name in names) <= MOST
