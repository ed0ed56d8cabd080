"""Base class of frozen values: one `__eq__`, `__hash__` and `__repr__` for all of them."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import attrs


@attrs.frozen(eq=False, repr=False)
class Value:
    """Base class of attrs classes that are made with ``eq=False, repr=False``.

    attrs would compile these methods for each class, which takes half of the time to make it. There are about 60 such
    classes, so that this would be a sixth of the time of the import. As usual, a field says whether it is part of them.
    """

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        compared = _compared(type(self))  # type: ignore[arg-type]  # mypy denies that a class is hashable
        return bool(compared(self) == compared(other))

    def __hash__(self) -> int:
        return hash(_compared(type(self))(self))  # type: ignore[arg-type]  # as above

    def __repr__(self) -> str:
        shown = (f"{field.name}={getattr(self, field.name)!r}" for field in attrs.fields(type(self)) if field.repr)
        return f"{type(self).__qualname__}({', '.join(shown)})"


@functools.cache
def _compared(kind: type[Value]) -> Callable[[Any], Any]:
    """Return the function that returns the compared fields of a value."""
    # A poll compares each record with the last one, so this is made once for each class, and is fast.
    return operator.attrgetter("__class__", *(field.name for field in attrs.fields(kind) if field.eq))
