"""A question about many that was refused: ever smaller parts tell whether it was the number, or which of the ids.

`_polling/fetcher.py` asks. Each part is answered or refused as a whole.
"""

from __future__ import annotations

import attrs

__all__ = ["Halving"]

_HOPELESS = 10
"""Parts refused in a row, after which it is neither the number nor an id. One bad id of a hundred costs seven."""


@attrs.define(eq=False)
class _Whole:
    """Something that was refused: the size of its larger half, and how many of its halves were answered."""

    half: int
    answered: int = 0


@attrs.define(eq=False)
class _Part:
    """Some ids, and what they are a half of."""

    ids: list[str]
    whole: _Whole


@attrs.define(eq=False)
class Halving:
    """Halves what was refused.

    Attributes:
        most: Ids in a part, at most; what is larger is halved without asking.
        refused: Parts refused in a row.
        bad: Ids that are refused also if they are alone.
    """

    most: int
    refused: int = 0
    bad: list[str] = attrs.field(factory=list)
    _parts: list[_Part] = attrs.field(factory=list)

    @classmethod
    def of(cls, ids: list[str], most: int) -> Halving:
        """Begin with a question of at least two ids, refused just now."""
        halving = cls(most)
        halving._halve(ids)
        return halving

    @property
    def is_hopeless(self) -> bool:
        """Whether so much was refused that it is about none of the ids."""
        return self.refused >= _HOPELESS

    def next(self) -> list[str]:
        """Return the part to ask about next; empty if nothing is left, or it is hopeless."""
        if self.is_hopeless:
            return []
        while self._parts and len(self._parts[-1].ids) > self.most:
            self._halve(self._parts.pop().ids)
        return self._parts[-1].ids if self._parts else []

    def take_answer(self) -> int | None:
        """Take note that the part was answered.

        Returns:
            A number that is not refused, if both halves of something were answered that was refused as a whole.
        """
        self.refused = 0
        whole = self._parts.pop().whole
        whole.answered += 1
        return whole.half if whole.answered == 2 else None

    def take_refusal(self) -> None:
        """Take note that the part was refused."""
        self.refused += 1
        ids = self._parts.pop().ids
        if len(ids) > 1:
            self._halve(ids)
        else:
            self.bad += ids

    def left(self) -> list[str]:
        """Return what nothing was heard of yet, without what is bad unless it is hopeless."""
        rest = [task_id for part in reversed(self._parts) for task_id in part.ids]
        return [*self.bad, *rest] if self.is_hopeless else rest

    def _halve(self, ids: list[str]) -> None:
        whole = _Whole((len(ids) + 1) // 2)
        self._parts += [_Part(ids[whole.half :], whole), _Part(ids[: whole.half], whole)]
