"""What A2E sends and no table of this package knows: logged once, and noted in the file that ``A2E_LEARN`` names.

A note has the keys and the types of what A2E sent, never a value: no link, name, prompt, id or token. Only an unknown
status word or error code is noted itself. A2E does not publish these things, so that such files turn into facts.
"""

# How it works: a note is a line of JSON without a time, so that an equal line is the same fact.
#
# 1. A fact is logged once in a process, and at most `_MAX_FACTS` are.
# 2. A thread appends it to the file with a single write, so that several processes can share a file. It leaves out a
#    line that the file has already, stops at `_MAX_FILE` bytes, and writes to a regular file only.
# 3. An error of writing is logged once and changes nothing.

import contextlib
import functools
import json
import logging
import os
import re
import stat
import threading
from typing import Any

from a2e_async._version import VERSION

VARIABLE = "A2E_LEARN"

_LOGGER = logging.getLogger("a2e_async")

_MAX_FACTS = 1000
_MAX_FILE = 256 * 1024  # bytes
_MAX_NODES = 200  # keys and items of a shape
_MAX_DEPTH = 8
_MAX_LOGGED = 300  # characters of a shape in the log

# The patterns are texts, since only the first unknown word, or the first response, needs them: `re` keeps what it has
# compiled.

# A status word such as "in queue", or a code such as "FACE_NOT_FOUND" or 1003. An id, a link or a sentence is neither.
_WORD = r"-?[0-9]{1,6}|(?=.{1,40}$)[A-Za-z]+(?:[_.-]{1,2}[A-Za-z]+){0,6}(?: [A-Za-z]+)?"
_KEY = r"[A-Za-z_$][A-Za-z_$.-]*(?:[0-9]{1,3}[A-Za-z_]*){0,2}"
_SEGMENT = r"\{\w+\}|[A-Za-z][A-Za-z_-]*(?:[0-9]{1,3}[A-Za-z_-]*){0,2}"
_ID = r"[0-9a-f]{16,}"

# A header that can tell of a limit; ``Retry-After`` is known.
_LIMIT_HEADER = r"(?i)rate-?limit|quota|concurren|throttl"

# Types of texts, which say more than "text" and show nothing.
_TEXTS = (
    ("empty text", r"\s*"),
    ("link", r"(?is)https?://.*"),
    ("id", r"[0-9a-f]{24}"),
    ("number as text", r"\s*-?[0-9]{1,20}(?:\.[0-9]{1,20})?\s*"),
    ("time", r"\d{4}-\d\d-\d\dT.{1,30}"),
)

_facts: set[tuple[str, str, str]] = set()


def note(
    kind: str, where: str, *, word: str | int = "", content: object = None, message: str = "", level: int = logging.INFO
) -> None:
    """Log something unknown once, and append it to the file of ``A2E_LEARN``. It returns at once, and never fails.

    The fact is the word if there is one, else the shape of the content: another shape is another fact.

    Args:
        kind: What is unknown, such as ``"status word"``.
        where: The key of a family, or an operation.
        word: A status word or an error code. Anything else is left out.
        content: Any JSON, or the bytes of a response.
        message: The log line, instead of one made of the rest.
        level: Its level.
    """
    text, where = str(word).strip(), redact_path(where)
    shown = text if is_word(text) else ""
    if len(_facts) >= _MAX_FACTS or (shown and (kind, where, shown) in _facts):
        return
    seen = shape_of_bytes(content) if isinstance(content, bytes) else shape(content)
    form = json.dumps(seen)
    fact = kind, where, shown or form
    if fact in _facts:
        return
    _facts.add(fact)
    _LOGGER.log(level, "%s", message or _message(kind, where, shown, form))
    if path := os.environ.get(VARIABLE):
        row = {"kind": kind, "where": where, "word": shown, "shape": seen, "a2e_async": VERSION}
        line = f"{json.dumps(row)}\n".encode()
        with contextlib.suppress(RuntimeError):  # the interpreter ends, or there are too many threads
            threading.Thread(target=_append, args=(path, line), name="a2e-learn").start()


def is_word(text: str) -> bool:
    """Tell whether a text can be a status word or an error code, and no id, link or sentence."""
    return re.fullmatch(_WORD, text) is not None and not re.search(_ID, text)


@functools.lru_cache(maxsize=1000)  # every response has the same names
def is_limit_header(name: str) -> bool:
    """Tell whether the header of a response can tell of a limit, which A2E does not publish."""
    return re.search(_LIMIT_HEADER, name) is not None


def _message(kind: str, where: str, word: str, form: str) -> str:
    dots = "…" if len(form) > _MAX_LOGGED else ""
    value = f" {word!r}" if word else ""
    return f"Unknown {kind}{value} of {where}, of the form {form[:_MAX_LOGGED]}{dots}"


def shape(value: object) -> Any:  # noqa: ANN401  any JSON
    """Return the keys and types of a JSON value, as a JSON value of texts. An array has the shapes of its items once.

    A key that can be a value, such as an id, is ``"{key}"``.
    """
    left = [_MAX_NODES]

    def look(part: object, depth: int) -> Any:  # noqa: ANN401  any JSON
        left[0] -= 1
        if isinstance(part, dict | list) and part and (depth >= _MAX_DEPTH or left[0] <= 0):
            return "…"
        if isinstance(part, dict):
            keys = [*part][: max(0, left[0])]
            rest = {"…": "…"} if len(keys) < len(part) else {}
            return {_key(key): look(part[key], depth + 1) for key in keys} | rest
        if isinstance(part, list):
            shapes: list[Any] = []
            for item in part[: max(0, left[0])]:
                seen = look(item, depth + 1)
                shapes += [] if seen in shapes else [seen]
            return shapes
        return _type_of(part)

    return look(value, 0)


def shape_of_bytes(content: bytes) -> Any:  # noqa: ANN401  any JSON
    """Return the shape of a body: that of its JSON, or what it is instead."""
    try:
        return shape(json.loads(content)) if content.strip() else "no content"
    except (ValueError, RecursionError):
        return "a web page" if content.lstrip().startswith(b"<") else "no JSON"


def redact_path(operation: str) -> str:
    """Return an operation with ``{id}`` for each part of its path that can be an id."""
    method, space, path = operation.rpartition(" ")
    parts = (
        part if not part or (re.fullmatch(_SEGMENT, part) and not re.search(_ID, part)) else "{id}"
        for part in path.split("/")
    )
    return f"{method}{space}{'/'.join(parts)}"


def _key(key: object) -> str:
    text = str(key)
    return text if len(text) <= 40 and re.fullmatch(_KEY, text) and not re.search(_ID, text) else "{key}"


def _type_of(value: object) -> str:
    if isinstance(value, str):
        return next((name for name, pattern in _TEXTS if re.fullmatch(pattern, value)), "text")
    names = {bool: "boolean", int: "integer", float: "number", type(None): "null", dict: "object", list: "array"}
    return names.get(type(value), "unknown")


def read_notes() -> list[dict[str, Any]]:
    """Return the notes in the file of ``A2E_LEARN``, without lines that are none."""
    try:
        with open(os.environ.get(VARIABLE, ""), "rb") as file:  # noqa: PTH123  an empty path is the current folder there
            lines = file.read(2 * _MAX_FILE).splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and set(row) == {"kind", "where", "word", "shape", "a2e_async"}:
            found.append(row)
    return found


def forget() -> None:
    """Forget what was logged, for tests."""
    _facts.clear()


def _append(path: str, line: bytes) -> None:
    try:
        # O_NONBLOCK: do not wait for the reader of a pipe
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        file = os.open(path, flags, 0o600)
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise OSError("it is not a regular file")  # noqa: TRY003, EM101  one handler for all
            # Another process can pass the limit at the same time, by one line.
            if status.st_size + len(line) <= _MAX_FILE and line not in os.read(file, _MAX_FILE):
                os.write(file, line)
        finally:
            os.close(file)
    except OSError as error:
        fact = "file", path, ""
        if fact not in _facts:
            _facts.add(fact)
            _LOGGER.warning("Cannot write to the file of %s: %s", VARIABLE, error.strerror or error)
