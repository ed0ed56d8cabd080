"""Record of all families of tasks that have no model of their own."""

import attrs

from a2e_async.models.common import TaskRecord


@attrs.frozen(kw_only=True, eq=False, repr=False)
class FamilyRecord(TaskRecord):
    """One task of any family, see `A2EClient.family`. Fields that only some families have are in `extra`.

    Attributes:
        result_urls: Links of all results, in A2E's order: families that make images can make several. The first link
            is `result_url`. Confidential: the links need no token.
    """

    result_urls: tuple[str, ...] = attrs.field(default=(), repr=False)
