"""How A2E's lists are gone through, page by page (reference 1.7)."""

from __future__ import annotations

from typing import Any

import attrs

from a2e_async._protocol.messages import Envelope, Request
from a2e_async._protocol.responses import count_rows, id_of, records, total_of

__all__ = ["LARGEST", "P1", "P2", "P3", "Pages", "Paging", "page_request"]

LARGEST = 100
"""Records in one page, at most."""

_STALE = 3
"""So many pages without anything new end a list; some servers answer the last page for ever."""


@attrs.frozen
class Paging:
    """How a list is told which page is wanted, counted from 1."""

    number: str
    size: str


P1 = Paging("pageNum", "pageSize")
P2 = Paging("current", "pageSize")
P3 = Paging("page", "page_size")


def page_request(path: str, number: int, size: int = LARGEST, paging: Paging | None = P1) -> Request:
    """Ask for one page of a list, counted from 1; for all of it, if it is not paged."""
    params = None if paging is None else {paging.number: str(number), paging.size: str(size)}
    return Request(method="GET", path=path, params=params, repeatable=True)


@attrs.define
class Pages:
    """One reading of a list. Others may add to it and delete from it meanwhile.

    Attributes:
        path: Where the list is.
        size: Records in a page.
        paging: How it is paged; None if it is not.
        number: The page that was asked for last, from 1.
        ended: There are no more pages.
        shrank: A2E's total became smaller meanwhile, so that records may have slipped to a page that was read before.
    """

    path: str
    size: int = LARGEST
    paging: Paging | None = P1
    number: int = 0
    ended: bool = False
    shrank: bool = False
    _total: int | None = None
    _seen: set[str] = attrs.field(factory=set)
    _stale: int = 0

    def next(self) -> Request:
        """Return the question for the next page."""
        self.number += 1
        return page_request(self.path, self.number, self.size, self.paging)

    def take(self, envelope: Envelope) -> list[dict[str, Any]]:
        """Return those records of a page that were on no page before.

        A short page is the last one, unless A2E says that there are more: it may give less than was asked for.
        """
        fresh = [record for record in records(envelope.data) if id_of(record) not in self._seen]
        self._seen.update(id_of(record) for record in fresh)
        total, rows = total_of(envelope.data), count_rows(envelope.data)
        self.shrank = self.shrank or (total is not None and self._total is not None and total < self._total)
        self._total = self._total if total is None else total
        self._stale = 0 if fresh else self._stale + 1
        is_short = rows < self.size and (total is None or len(self._seen) >= total)
        self.ended = self.paging is None or is_short or not rows or self._stale >= _STALE
        return fresh
