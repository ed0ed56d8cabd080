"""Reading of A2E's lists, page by page (reference 1.7)."""

from typing import Any, NamedTuple

from a2e_async._protocol.messages import Envelope, Request
from a2e_async._protocol.responses import count_rows, id_of, records, rows, total_of

MAX_PAGE_SIZE = 100

# Pages in a row without a new record that end a list: some servers repeat the last page forever.
_MAX_STALE_PAGES = 3


class PageParams(NamedTuple):
    """Names of the query parameters for the page number, counted from 1, and for the page size."""

    number: str
    size: str


# The three styles of reference 1.7.
P1 = PageParams("pageNum", "pageSize")
P2 = PageParams("current", "pageSize")
P3 = PageParams("page", "page_size")


def page_request(path: str, number: int, size: int = MAX_PAGE_SIZE, paging: PageParams | None = P1) -> Request:
    """Return the request for one page of a list, counted from 1, or for the whole list if it has no pages."""
    params = None if paging is None else {paging.number: str(number), paging.size: str(size)}
    return Request(method="GET", path=path, params=params, repeatable=True)


class PageReader:
    """Progress of reading a list once, while records may be added to it and deleted from it.

    Attributes:
        path: The path of the list.
        size: Records in a page.
        paging: The style of its pages; None if it has none.
        needs_ids: Whether rows without an id are left out. A list of other things than tasks may have such rows.
        thorough: Whether a short page does not end a list without a total. The page may lack rows, or A2E may give
            smaller pages than asked for; an empty page is certain to be the end.
        number: The number of the last page requested, from 1.
        ended: Whether there are no more pages.
        shrank: Whether A2E's total became smaller meanwhile, so that records may have moved to a page read before.
        total: The number of all records, as the last page with a total states it; None if none does.
        ids: The ids of all records so far.
        unidentified: How many rows had no id.
        is_gapless: Whether all pages so far were full, except the last one of the list.
    """

    def __init__(
        self,
        path: str,
        size: int = MAX_PAGE_SIZE,
        paging: PageParams | None = P1,
        *,
        needs_ids: bool = True,
        thorough: bool = False,
    ) -> None:
        self.path, self.size, self.paging = path, size, paging
        self.needs_ids, self.thorough = needs_ids, thorough
        self.number = 0
        self.ended = self.shrank = False
        self.total: int | None = None
        self.ids: set[str] = set()
        self.unidentified = 0
        self.is_gapless = True
        self._first_total: int | None = None
        self._count = self._stale = 0
        self._page: list[dict[str, Any]] = []

    def next_request(self) -> Request:
        """Return the request for the next page."""
        self.number += 1
        return page_request(self.path, self.number, self.size, self.paging)

    def read(self, envelope: Envelope) -> list[dict[str, Any]]:
        """Return the records of a page that were on no page before."""
        operation = envelope.operation
        page = records(envelope.data, operation=operation) if self.needs_ids else rows(envelope.data)
        # A row without an id cannot be recognised, but a page of such rows that comes twice in a row can.
        is_repeated = page == self._page
        fresh = [row for row in page if (id_of(row) not in self.ids if id_of(row) else not is_repeated)]
        self.ids.update(id_of(row) for row in fresh if id_of(row))
        self._count += len(fresh)
        self._page = page
        total, row_count = total_of(envelope.data), count_rows(envelope.data)
        if self.needs_ids and row_count > len(page):  # else all rows have ids, and none comes twice
            self.unidentified += row_count - sum(bool(id_of(row)) for row in rows(envelope.data))
        self.shrank = self.shrank or (total is not None and self.total is not None and total < self.total)
        self.total = self.total if total is None else total
        self._first_total = self.total if self._first_total is None else self._first_total
        # One stale page can be an accident: new records at the top of the list push old ones to the next page.
        self._stale = 0 if fresh else self._stale + 1
        # A short page is the last one, unless the total says otherwise: A2E may give less than the requested size.
        # A total below the number of records that have come says as little as none.
        known = None if self.thorough and total is not None and total < self._count else total
        is_last = not self.thorough if known is None else self._count >= known
        is_short = row_count < self.size
        self.ended = self.paging is None or (is_short and is_last) or not row_count or self._stale >= _MAX_STALE_PAGES
        self.is_gapless = self.is_gapless and (not is_short or self.ended)
        return fresh

    @property
    def missing(self) -> int:
        """How many records of the total have not come. Records that were added after the first page do not count."""
        return max(0, (self._first_total or 0) - self._count)
