"""The pytest plugin beside pytest-asyncio in both modes, and beside anyio's, with and without virtual time."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.own_clock

VIDEO = """
import asyncio
import pytest, pytest_asyncio
from a2e_async import A2EClient

async def video(a2e):
    task = await a2e.image_to_video.start(image_url="https://example.com/a.png", prompt="wave", negative_prompt="blurry")
    return await task.wait_until_done()
"""

QUIET = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:xdist", "-W", "error")


def run(
    pytester: pytest.Pytester, tests: str, *, mode: str = "strict", plugins: tuple[str, ...] = ()
) -> pytest.RunResult:
    """Run tests in this process, with warnings as errors."""
    pytester.makeini(f"[pytest]\nasyncio_mode = {mode}\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(VIDEO + textwrap.dedent(tests))
    return pytester.runpytest_inprocess(*QUIET, *plugins)


def test_auto_mode(pytester: pytest.Pytester) -> None:
    """In auto mode plain coroutines are tests: functions, methods, and tests with fixtures that use ours."""
    run(
        pytester,
        """
        pytestmark = pytest.mark.virtual_time

        @pytest.fixture
        async def other_client(a2e_sandbox):
            async with A2EClient(a2e_sandbox.token, base_url=a2e_sandbox.url) as client:
                yield client
            assert a2e_sandbox.coins == 9_970

        async def test_function(a2e_sandbox, a2e_clock, other_client):
            await video(other_client)
            assert a2e_clock.elapsed > 20

        class TestClass:
            async def test_method(self, a2e_client, a2e_sandbox):
                await video(a2e_client)
                assert [entry.coins for entry in a2e_sandbox.ledger] == [-30]
        """,
        mode="auto",
    ).assert_outcomes(passed=2)


def test_strict_mode_and_anyio(pytester: pytest.Pytester) -> None:
    """In strict mode, tests of pytest-asyncio and of anyio use the same fixtures, in any order."""
    run(
        pytester,
        """
        pytestmark = pytest.mark.virtual_time

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest_asyncio.fixture
        async def other_client(a2e_sandbox):
            async with A2EClient(a2e_sandbox.token, base_url=a2e_sandbox.url) as client:
                yield client

        @pytest.fixture
        async def anyio_client(a2e_sandbox):
            async with A2EClient(a2e_sandbox.token, base_url=a2e_sandbox.url) as client:
                yield client

        async def check(client, clock, sandbox):
            await video(client)
            assert clock.elapsed > 20
            assert sandbox.coins == 9_970

        @pytest.mark.anyio
        async def test_anyio(a2e_client, a2e_clock, a2e_sandbox):
            await check(a2e_client, a2e_clock, a2e_sandbox)

        @pytest.mark.asyncio
        async def test_asyncio(other_client, a2e_clock, a2e_sandbox):
            await check(other_client, a2e_clock, a2e_sandbox)

        @pytest.mark.anyio
        async def test_anyio_again(anyio_client, a2e_clock, a2e_sandbox):
            await check(anyio_client, a2e_clock, a2e_sandbox)
        """,
    ).assert_outcomes(passed=3)


def test_real_time(pytester: pytest.Pytester) -> None:
    """Without the mark the fixtures work in real time, also in an event loop of more than one test."""
    run(
        pytester,
        """
        @pytest.mark.asyncio
        @pytest.mark.a2e_sandbox(coins=7)
        async def test_options(a2e_client, a2e_sandbox):
            assert (await a2e_client.account.balance()).coins == a2e_sandbox.coins == 7

        @pytest.mark.asyncio(loop_scope="session")
        async def test_session_loop(a2e_client):
            assert (await a2e_client.account.balance()).coins == 10_000
            assert type(asyncio.get_running_loop()).__name__ != "VirtualEventLoop"
        """,
    ).assert_outcomes(passed=2)


def test_session_loop_on_virtual_time(pytester: pytest.Pytester) -> None:
    """The event loop of a session cannot follow the clock of one test, and the error has the solution."""
    result = run(
        pytester,
        """
        @pytest.mark.virtual_time
        @pytest.mark.asyncio(loop_scope="session")
        async def test_it():
            pass
        """,
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(['*Use @pytest.mark.asyncio(loop_scope="function") beside @pytest.mark.virtual_time.'])


def test_anyio_loop_of_a_module(pytester: pytest.Pytester) -> None:
    """A loop that a fixture of a module keeps open for anyio's tests cannot either."""
    result = run(
        pytester,
        """
        @pytest.fixture(scope="module")
        def anyio_backend():
            return "asyncio"

        @pytest.fixture(scope="module")
        async def kept():
            yield

        @pytest.mark.anyio
        async def test_real(kept):
            pass

        @pytest.mark.anyio
        @pytest.mark.virtual_time
        async def test_virtual(kept, a2e_sandbox):
            pass
        """,
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["the event loop of this test is not on virtual time*"])


def test_missing_mark_or_plugin(pytester: pytest.Pytester) -> None:
    """The error of a fixture names the mark or plugin that it needs."""
    result = run(
        pytester,
        """
        def test_clock(a2e_clock):
            pass

        def test_sandbox(a2e_sandbox):
            pass
        """,
        plugins=("-p", "no:asyncio", "-p", "no:anyio", "-W", "ignore"),
    )
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*a2e_clock needs the mark*", "*a2e_sandbox needs a plugin*pytest-asyncio or anyio"])


def test_own_fixture_of_the_same_name(pytester: pytest.Pytester) -> None:
    """A program's own fixture `a2e_sandbox` replaces ours."""
    run(
        pytester,
        """
        @pytest.fixture
        def a2e_sandbox():
            return "mine"

        def test_it(a2e_sandbox):
            assert a2e_sandbox == "mine"
        """,
    ).assert_outcomes(passed=1)


def test_plugin_imports_nothing_heavy() -> None:
    """Each run of pytest imports the plugin, so it imports neither aiohttp nor asyncio."""
    code = (
        "import sys, pytest\n"
        "before = set(sys.modules)\n"
        "import a2e_async.testing.plugin\n"
        "new = {name for name in set(sys.modules) - before if not name.startswith('a2e_async')}\n"
        "assert not new, new"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
