"""Signals that end a command: SIGTERM and SIGHUP do what Ctrl-C does."""

# How it works:
#
# - A container, a service manager or a CI system sends SIGTERM, and a terminal that is closed sends SIGHUP. Without a
#   handler, they would end the process at once, and the id of a paid task would be lost. As process 1 of a container,
#   the process would ignore them, and go on with its starts until it is killed.
# - Their handler calls the one of Ctrl-C, which Python and asyncio install and replace. So a second signal, of any of
#   the three kinds, ends the command at once as a second Ctrl-C does.
# - A shell starts a background job with Ctrl-C ignored, and `nohup` with SIGHUP ignored. Both stay ignored. But the
#   handler of Ctrl-C is needed for SIGTERM: it is installed, and the signal itself is blocked.

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_KINDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]


def _interrupt(_number: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):  # else Ctrl-C is ignored for a moment, while ids are printed
        handler(signal.SIGINT, frame)


@contextlib.contextmanager
def stop_signals() -> Iterator[None]:
    """Treat the signals that end a process as Ctrl-C, until the end of the block."""
    replaced: dict[int, signal._HANDLER] = {}
    blocked: set[signal.Signals] = set()
    try:
        for kind in _KINDS:
            # not over a handler of a program that calls `main`
            if signal.getsignal(kind) is signal.SIG_DFL:
                replaced[kind] = signal.signal(kind, _interrupt)
        if replaced and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            if hasattr(signal, "pthread_sigmask"):
                blocked = {signal.SIGINT} - signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            replaced[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    except ValueError:  # not in the main thread, which alone gets signals
        pass
    try:
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)
        if blocked:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
