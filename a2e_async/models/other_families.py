"""Records of the families of tasks that have no model of their own."""

from __future__ import annotations

import attrs

from a2e_async.models.common import TaskRecord

__all__ = ["FamilyRecord"]


@attrs.frozen(kw_only=True)
class FamilyRecord(TaskRecord):
    """One task of any family, see `A2EClient.family`. What only some families say is in `extra`.

    Attributes:
        result_urls: All results, in A2E's order: families that make images can make several. The first of them is
            `result_url`. Confidential: they need no token.
    """

    result_urls: tuple[str, ...] = attrs.field(default=(), repr=False)
