"""Imports: the contracts of pyproject.toml, and which package is allowed in which file."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

import grimp
import pytest

GRAPH = grimp.build_graph("a2e_async", include_external_packages=True)

ALLOWED = {
    "aiohttp": (
        "a2e_async._transport.exceptions",
        "a2e_async._transport.http",
        "a2e_async._transport.route",
        "a2e_async.files.storage",
        "a2e_async.client",
        "a2e_async.webhooks",
        "a2e_async.integrations.aiohttp",
        "a2e_async.sandbox",
    ),
    "yarl": (
        "a2e_async._transport.exceptions",
        "a2e_async._transport.http",
        "a2e_async._transport.route",
        "a2e_async.files.storage",
        "a2e_async.sandbox",
    ),
    "backoff": ("a2e_async._transport.retry",),
    "cattrs": ("a2e_async._protocol.converter", "a2e_async.sandbox.state_file"),
    "cyclopts": ("a2e_async.cli",),
    "rich": ("a2e_async.cli",),
    "anyio": ("a2e_async.integrations.blocking",),
    "django": ("a2e_async.integrations.django",),
    "fastapi": ("a2e_async.integrations.fastapi",),
    "flask": ("a2e_async.integrations.flask",),
    "litestar": ("a2e_async.integrations.litestar",),
    "mcp": ("a2e_async.integrations.mcp",),
    "opentelemetry": ("a2e_async.integrations.opentelemetry",),
    "quart": ("a2e_async.integrations.quart",),
    "starlette": ("a2e_async.integrations.starlette",),
    "pydantic": ("a2e_async.integrations.mcp", "a2e_async.models.schemas"),
    "pydantic_core": ("a2e_async.models.schemas",),  # inside of functions that pydantic calls
    "pytest": ("a2e_async.testing.plugin",),
    "pytest_asyncio": ("a2e_async.testing.plugin",),
    "av": ("a2e_async.cli.batch.gallery.frames", "a2e_async.cli.commands.demo", "a2e_async.sandbox"),
    "PIL": ("a2e_async.cli.batch.gallery.frames", "a2e_async.cli.commands.demo", "a2e_async.sandbox"),
}


def test_contracts_hold() -> None:
    """The layers, the absence of circles and the allowed imports are as drawn in the architecture."""
    root = pathlib.Path(__file__).parents[2]
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", ALLOWED)
def test_package_stays_in_its_files(package: str) -> None:
    """A third-party package is imported only where the architecture allows it."""
    importers = GRAPH.find_modules_that_directly_import(package)
    allowed = ALLOWED[package]
    assert importers, f"{package} is imported nowhere: take it out of the table"
    assert {name for name in importers if not any(f"{name}.".startswith(f"{module}.") for module in allowed)} == set()


def test_client_imports_aiohttp_only_for_a_type() -> None:
    """The client opens no sockets: `aiohttp` stands there in annotations only."""
    module = ast.parse((pathlib.Path(__file__).parents[2] / "a2e_async" / "client.py").read_text())
    notes = [note for node in ast.walk(module) if (note := getattr(node, "annotation", None))]
    used = [node for node in ast.walk(module) if isinstance(node, ast.Name) and node.id == "aiohttp"]
    assert used
    assert {id(node) for node in used} <= {id(node) for note in notes for node in ast.walk(note)}


def test_import_of_the_client_reads_little() -> None:
    """Importing the client imports no model but that of image to video, no cattrs, no SQLite and no batch runner."""
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"  # a measurement of coverage has SQLite
        "from a2e_async import A2EClient\n"
        "late = {'cattrs', 'sqlite3', 'aiosqlite', 'a2e_async.batch.runner', 'a2e_async.models.voices'}\n"
        "late |= {'a2e_async.batch.rules', 'a2e_async.batch.automatic_keys'}\n"
        "late &= set(sys.modules) - before\n"
        "assert not late, late"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_import_of_the_client_makes_few_attrs_classes() -> None:
    """Only values are made with attrs, which writes and compiles code for each class: a thousandth of the import."""
    code = (
        "import sys\n"
        "from a2e_async import A2EClient\n"
        "modules = [module for name, module in sys.modules.items() if name.startswith('a2e_async')]\n"
        "named = [value for module in modules for value in vars(module).values()]\n"
        "made = {value for value in named if isinstance(value, type) and '__attrs_attrs__' in vars(value)}\n"
        "assert len(made) <= 50, sorted(map(str, made))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("enabled", [True, False])
def test_import_leaves_the_garbage_collector_as_it_was(*, enabled: bool) -> None:
    """The garbage collector rests during the import of the client, and is afterwards as it was."""
    code = (
        "import gc, sys, a2e_async\n"
        f"{'gc.enable' if enabled else 'gc.disable'}()\n"
        "collections = []\n"
        "def note(phase, _):\n"  # tracing makes objects too, before and after the import
        "    module = sys.modules.get('a2e_async.client')\n"
        "    collections.extend([phase] if module and not hasattr(module, 'A2EClient') else [])\n"
        "gc.callbacks.append(note)\n"
        "a2e_async.A2EClient\n"
        f"assert not collections and gc.isenabled() is {enabled}, collections"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_import_needs_no_extra() -> None:
    """Importing the package, its sandbox and what all integrations share imports no optional dependency."""
    code = (
        "import sys, a2e_async.integrations, a2e_async.sandbox\n"
        "extras = {'cyclopts', 'rich', 'av', 'PIL', 'anyio', 'opentelemetry', 'pydantic', 'starlette'} & set(sys.modules)\n"
        "assert not extras, extras"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
