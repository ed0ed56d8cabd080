"""Standard streams of a command: never missing, and with an error of their own."""

# How it works:
#
# - A stream can be missing: it was closed before the process began (`>&-`), or there is no console (`pythonw`). The
#   null device takes its place. Without that, the next file that is opened would get the number of the missing stream.
# - Results go to stdout: if it cannot be written, the command ends with an `OutputError`.
# - Stderr has progress and errors only: if it cannot be written, the command goes on. A task may have been paid.
# - After an error, the null device takes the place of a stream as well. Python writes to it once more when it ends.

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class OutputError(Exception):
    """Standard output cannot be written. `error` is the error of the system."""

    def __init__(self, error: OSError) -> None:
        """Keep the error of the system."""
        super().__init__(str(error))
        self.error = error


class Output:
    """Standard output or standard error of a command. What is not here is as in the stream itself."""

    def __init__(self, stream: TextIO, *, is_required: bool) -> None:
        """Wrap a stream. An error is raised if it is required, else what cannot be written is lost."""
        self._stream = stream
        self._is_required = is_required

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  any attribute of a stream
        """Return an attribute of the stream."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text."""
        with self._guard():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        with self._guard():
            self._stream.flush()

    def write_bytes(self, content: bytes) -> None:
        """Write bytes, such as those of a video."""
        with self._guard():
            self._stream.buffer.write(content)

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with contextlib.suppress(OSError):  # a stream without a file has nothing to write at the end
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)
            if self._is_required:
                raise OutputError(error) from error


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Replace the standard streams by streams that are never missing, until the end of the block."""
    with contextlib.ExitStack() as stack:
        for name in ("stdin", "stdout", "stderr"):  # in this order: each gets the lowest number that is free
            stream = getattr(sys, name)
            stack.callback(setattr, sys, name, stream)
            if stream is None:
                mode = "r" if name == "stdin" else "w"
                stream = stack.enter_context(open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123
            if name != "stdin":
                if isinstance(stream, io.TextIOWrapper):
                    # A name can hold any character; one that the terminal cannot encode must not end the command.
                    stream.reconfigure(errors="backslashreplace")
                stream = Output(stream, is_required=name == "stdout")
            setattr(sys, name, stream)
        yield
