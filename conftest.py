"""Configuration of all tests and pages: the README's examples, virtual time, and an option for a random order."""

from __future__ import annotations

import gc
import itertools
import os
import pathlib
import random
import signal
import tempfile
from typing import TYPE_CHECKING

import pages
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

REALTIME = 40
"""Maximum number of tests in real time: they are slow, and fail on a busy machine."""

page = pages.page
pytest_collect_file = pages.collect_examples(
    pathlib.Path(__file__).parent, "README.md", excludes=("*/README.md",)
).pytest()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add an option that shuffles the tests, to prove that they are independent, and one for screenshots."""
    parser.addoption("--shuffle", type=int, metavar="SEED", help="run the tests in a random order")
    parser.addoption("--screenshots", metavar="FOLDER", help="write the images of the documentation; needs a browser")


def pytest_configure() -> None:
    """Make sure that the programs of the tests receive Ctrl-C, and reach the local A2E without a proxy."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "A2E_PROFILE", "A2E_LEARN"):
        os.environ.pop(name, None)
        os.environ.pop(name.lower(), None)
    # No command of a test reads or writes the profiles of the developer.
    os.environ["XDG_CONFIG_HOME"] = str(pathlib.Path(tempfile.gettempdir(), "a2e-tests"))
    os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
    # A background job of a shell ignores SIGINT, and so do its children.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect the tests without Python's garbage collector, and leave them out of all that it does later.

    They live until the end of the run. With 12,000 of them a `gc.collect()` in a test takes half a second.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put every test on virtual time, unless its marker says otherwise; shuffle the tests if the option is given.

    The examples of a page stay in order, because they share a namespace.
    """
    for item in items:
        is_test = isinstance(item, pytest.Function)  # the examples of a page share the virtual time of `page`
        if is_test and not any(map(item.get_closest_marker, ("realtime", "process", "own_clock"))):
            item.add_marker("virtual_time")
    real = [mark for item in items if (mark := item.get_closest_marker("realtime")) is not None]
    if len(real) > REALTIME or not all(mark.args for mark in real):
        msg = f"{len(real)} tests are marked `realtime`; at most {REALTIME} may be, each with a reason"
        raise pytest.UsageError(msg)
    if (seed := config.getoption("shuffle")) is not None:
        units = [[*unit] for _, unit in itertools.groupby(items, key=_unit)]
        random.Random(seed).shuffle(units)  # noqa: S311  an order, not a secret
        items[:] = itertools.chain.from_iterable(units)


def _unit(item: pytest.Item) -> object:
    return item if isinstance(item, pytest.Function) else item.path
