"""Rows of a journal: how a journal entry becomes the values of the columns, and what can be read of damaged ones."""

# How it works:
#
# * A value that no column can hold (odd JSON of A2E, a text that is no Unicode) is changed or left out, so that the
#   entry can be written in any case.
# * A damaged value that can be read from A2E again counts as missing. Any other one is a `DamagedEntryError`: the entry
#   may have a task, so nothing is started for its job.

import json
import math
from collections.abc import Sequence
from typing import Any, NoReturn, get_args

import attrs

from a2e_async.batch.rules import EntryState, JournalEntry
from a2e_async.errors import JournalError

COLUMNS = tuple(field.name for field in attrs.fields(JournalEntry))

_JSON = frozenset({"request", "record", "error"})

# The types of the columns' values, and the columns that may be empty.
_TYPES: dict[str, Any] = {
    **dict.fromkeys(COLUMNS, str),
    **dict.fromkeys(_JSON, dict),
    **dict.fromkeys(("coins", "quoted", "created_at", "sent_at", "accepted_at", "finished_at"), int | float),
    "starts": int,
}
_NULLABLE = frozenset({*COLUMNS} - {"key", "state", "request", "starts", "marker", "created_at"})
_END_OF_TIME = 253402300800.0  # the year 10000, in seconds since the epoch


class DamagedEntryError(JournalError):
    """Entry of a journal that cannot be read. The other entries can be used."""


def to_values(entry: JournalEntry) -> tuple[Any, ...]:
    """Return the values of the columns, as the entry is at this moment."""
    return tuple(_to_column(getattr(entry, name)) for name in COLUMNS)


def _to_column(value: Any) -> Any:  # noqa: ANN401  the type depends on the column
    if isinstance(value, dict):
        try:
            return json.dumps(value)
        # nested too deeply, or a number of thousands of digits: only a record of A2E's has such, and is read again
        except (ValueError, RecursionError):
            return None
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:  # such as the name of a file in no known encoding
            return value.encode(errors="surrogatepass")
    # A2E's JSON can hold a price of any length, a column cannot. Such a price is unknown.
    return None if isinstance(value, int) and value.bit_length() > 63 else value


def decode_text(data: bytes) -> str:
    """Decode a text of the database. It never fails: damaged bytes become surrogates, which `from_values` finds."""
    return data.decode(errors="surrogateescape")


def is_intact(text: str) -> bool:
    """Return whether a text of the database was decoded without damage."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def from_values(values: Sequence[Any]) -> JournalEntry:
    """Make an entry of the values of the columns.

    Raises:
        DamagedEntryError: A value is damaged that cannot be read from A2E again.
    """
    fields = dict(zip(COLUMNS, values, strict=True))
    for name, value in fields.items():
        try:
            fields[name] = _from_column(name, value)
        except (ValueError, TypeError, RecursionError):
            # the record is read from A2E again, and the error was of an earlier run
            if name not in {"record", "error"}:
                raise_damaged(fields["key"], name)
            fields[name] = None
    return JournalEntry(**fields)


def raise_damaged(key: object, column: str) -> NoReturn:
    """Raise the error about a damaged entry."""
    msg = (
        f"The journal's entry of the job {key!r} is damaged (column {column}): nothing was started. Restore a backup "
        "of the journal, or give the job another key, under which it is started again"
    )
    raise DamagedEntryError(msg)


def _from_column(name: str, value: Any) -> Any:  # noqa: ANN401  the type depends on the column
    if isinstance(value, bytes):
        value = value.decode(errors="surrogatepass")
    elif isinstance(value, str) and not is_intact(value):
        raise ValueError
    if name in _JSON and isinstance(value, str):
        value = json.loads(value)
    if value is None and name in _NULLABLE:
        return None
    if not isinstance(value, _TYPES[name]) or (name == "state" and value not in get_args(EntryState)):
        raise TypeError
    if name in {"coins", "quoted"} and not math.isfinite(value):
        return None
    # a time that is no time, or a negative count of starts
    if isinstance(value, int | float) and name not in {"coins", "quoted"} and not 0 <= value < _END_OF_TIME:
        raise ValueError
    return value
