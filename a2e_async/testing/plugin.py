"""The pytest plugin: the marks ``virtual_time`` and ``a2e_sandbox``, and three fixtures.

pytest finds it by its entry point, and imports it in every run. So functions import their dependencies on first use.

How it works
------------
The asynchronous fixtures run in the event loop of the test, which another plugin owns. pytest-asyncio accepts functions
with a mark of its own, and warns of all others. anyio's plugin accepts plain asynchronous generators. So the fixtures
are registered as plain functions, which are never called. During the setup of a fixture, `pytest_fixture_setup`
replaces its function by one that the plugin of the test accepts.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

# ruff: noqa: PLC0415  (see above)

if TYPE_CHECKING:  # not at run time, since pytest imports this module in every run
    from collections.abc import AsyncIterator, Iterator

    from a2e_async import A2EClient
    from a2e_async.sandbox import Sandbox
    from a2e_async.testing.clock import VirtualClock

__all__ = ["a2e_client", "a2e_clock", "a2e_sandbox"]

_MARKS = (
    "virtual_time(stall_timeout=30.0): run the test on a clock that jumps to the next timer when all tasks wait",
    "a2e_sandbox(**options): make the sandbox of the fixture with these options of a2e_async.sandbox.Sandbox",
)

_CLOCK: pytest.StashKey[VirtualClock] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks."""
    for mark in _MARKS:
        config.addinivalue_line("markers", mark)


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Run a marked test, with its fixtures, on virtual time."""
    mark = item.get_closest_marker("virtual_time")
    if mark is None:
        return (yield)
    from a2e_async.testing.clock import virtual_time

    with virtual_time(**mark.kwargs) as clock:
        item.stash[_CLOCK] = clock
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test on virtual time whose event loop is older than its clock."""
    if item.get_closest_marker("virtual_time") and _loop_scope(item) not in (None, "function"):
        _fail_for_loop()


@pytest.fixture
def a2e_sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """A local A2E with 10,000 coins, which is as slow as the real one: use it on virtual time.

    Its results are tiny files. The mark ``a2e_sandbox`` takes the options of `a2e_async.sandbox.Sandbox`, as
    in ``@pytest.mark.a2e_sandbox(coins=0)``.
    """
    _fail_without_plugin(request)


@pytest.fixture
def a2e_client(request: pytest.FixtureRequest, a2e_sandbox: Sandbox) -> A2EClient:  # noqa: ARG001  `_client` needs it
    """A client of `a2e_sandbox`."""
    _fail_without_plugin(request)


@pytest.fixture
def a2e_clock(request: pytest.FixtureRequest) -> VirtualClock:
    """The `VirtualClock` of a test with the mark ``virtual_time``."""
    clock: VirtualClock | None = request.node.stash.get(_CLOCK, None)
    if clock is None:
        pytest.fail("the fixture a2e_clock needs the mark: @pytest.mark.virtual_time", pytrace=False)
    return clock


async def _sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    import asyncio

    from a2e_async.sandbox import Sandbox

    clock = request.node.stash.get(_CLOCK, None)
    if clock is not None and getattr(asyncio.get_running_loop(), "clock", None) is not clock:
        _fail_for_loop()
    mark = request.node.get_closest_marker("a2e_sandbox")
    options: dict[str, Any] = {"render": "tiny", "seed": 1} | (mark.kwargs if mark else {})
    async with Sandbox(**options) as sandbox:
        yield sandbox


async def _client(request: pytest.FixtureRequest, a2e_sandbox: Sandbox) -> AsyncIterator[A2EClient]:  # noqa: ARG001
    from a2e_async import A2EClient, Config

    # the sandbox is in this process, so that no proxy of the environment leads to it
    async with A2EClient(a2e_sandbox.token, base_url=a2e_sandbox.url, config=Config(proxy="")) as client:
        yield client


_FUNCTIONS: dict[str, Any] = {"a2e_sandbox": _sandbox, "a2e_client": _client}


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Iterator[None]:
    """Replace the function of an asynchronous fixture by one that the plugin of the test accepts."""
    function = _FUNCTIONS.get(fixturedef.argname)
    if function is None or fixturedef.func.__module__ != __name__:
        return (yield)
    if "anyio_backend" not in request.fixturenames:
        if not request.config.pluginmanager.has_plugin("asyncio"):
            return (yield)
        import pytest_asyncio

        function = types.FunctionType(
            function.__code__, globals()
        )  # a copy, since the mark changes it, and anyio needs the original
        pytest_asyncio.fixture(loop_scope=_loop_scope(request.node))(function)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fixturedef, "func", function)
        return (yield)


def _loop_scope(item: pytest.Item) -> Any:  # noqa: ANN401  one of pytest's names for scopes
    """Return the scope of the event loop of a test that pytest-asyncio runs, or `None`."""
    if (mark := item.get_closest_marker("asyncio")) is None:
        return None
    return (
        mark.kwargs.get("loop_scope")
        or mark.kwargs.get("scope")
        or item.config.getini("asyncio_default_test_loop_scope")
    )


def _fail_for_loop() -> NoReturn:
    pytest.fail(
        "the event loop of this test is not on virtual time: other tests use it as well, or a loop factory made it. "
        'Use @pytest.mark.asyncio(loop_scope="function") beside @pytest.mark.virtual_time.',
        pytrace=False,
    )


def _fail_without_plugin(request: pytest.FixtureRequest) -> NoReturn:
    pytest.fail(
        f"the fixture {request.fixturename} needs a plugin for asynchronous tests: pytest-asyncio or anyio",
        pytrace=False,
    )
