"""Bisection of a rejected batch: smaller and smaller parts show whether the size was rejected, or which of the ids.

Pure: `_polling/fetcher.py` sends the requests. Each part is accepted or rejected as a whole.
"""

from __future__ import annotations

import attrs

# Parts rejected in a row, after which neither the size nor an id can be the cause. One bad id of a hundred costs seven.
_GIVE_UP_AFTER = 10


@attrs.define(eq=False)
class _Split:
    """A rejected batch that was halved: the size of its larger half, and the number of its accepted halves."""

    half: int
    accepted: int = 0


@attrs.define(eq=False)
class _Part:
    """One half of a split."""

    ids: list[str]
    split: _Split


@attrs.define(eq=False)
class Bisection:
    """Bisection of one rejected batch. Parts are tried from left to right, depth first.

    Attributes:
        max_size: Ids in a part, at most. A larger part is halved without a request.
        rejections: Parts rejected in a row.
        bad_ids: Ids that are rejected even alone.
    """

    max_size: int
    rejections: int = 0
    bad_ids: list[str] = attrs.field(factory=list)
    _parts: list[_Part] = attrs.field(factory=list)

    @classmethod
    def of(cls, ids: list[str], max_size: int) -> Bisection:
        """Start with a batch of at least two ids that was just rejected."""
        bisection = cls(max_size)
        bisection._split(ids)
        return bisection

    @property
    def is_hopeless(self) -> bool:
        """Whether so many parts in a row were rejected that no id is the cause."""
        return self.rejections >= _GIVE_UP_AFTER

    def next_part(self) -> list[str]:
        """Return the next part to send; empty at the end, or if it is hopeless."""
        if self.is_hopeless:
            return []
        while self._parts and len(self._parts[-1].ids) > self.max_size:
            self._split(self._parts.pop().ids)
        return self._parts[-1].ids if self._parts else []

    def accept(self) -> int | None:
        """Record that the part was accepted.

        Returns:
            A size that is accepted, if this was the second accepted half of a rejected batch: then only the size of the
            whole can have been the cause. Else None.
        """
        self.rejections = 0
        split = self._parts.pop().split
        split.accepted += 1
        return split.half if split.accepted == 2 else None

    def reject(self) -> None:
        """Record that the part was rejected."""
        self.rejections += 1
        ids = self._parts.pop().ids
        if len(ids) > 1:
            self._split(ids)
        else:
            self.bad_ids += ids

    def remaining(self) -> list[str]:
        """Return the ids without a result. Bad ids are among them only if the bisection is hopeless."""
        rest = [task_id for part in reversed(self._parts) for task_id in part.ids]
        # If everything is rejected, an id that was rejected alone need not be bad.
        return [*self.bad_ids, *rest] if self.is_hopeless else rest

    def _split(self, ids: list[str]) -> None:
        split = _Split((len(ids) + 1) // 2)
        # The parts are a stack: the left half is pushed last, so that it is tried first.
        self._parts += [_Part(ids[split.half :], split), _Part(ids[: split.half], split)]
