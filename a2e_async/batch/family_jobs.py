"""Jobs of any family, for batches of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from a2e_async.batch.jobs import Job


@attrs.frozen(
    init=False,
    kw_only=True,
    eq=False,
    repr=False,
    these={"family": attrs.field(), "fields": attrs.field(repr=False), "inputs": attrs.field()},
)
class FamilyJob(Job):
    """One task of any family in a batch of the command line.

    Attributes:
        key: As in `Job`.
        family: A2E's word for the family.
        fields: The fields of its start, by A2E's names. A local file is a path.
        inputs: The names of the fields that hold files or links.
    """

    if TYPE_CHECKING:  # attrs makes the attributes, from the names above
        family: str
        fields: Mapping[str, Any]
        inputs: frozenset[str]

    def __init__(self, *, key: str, family: str, fields: Mapping[str, Any], inputs: frozenset[str]) -> None:
        """Take the key and the fields."""
        self.__attrs_init__(key=key, family=family, fields=fields, inputs=inputs)  # type: ignore[call-arg]  # as above

    def named_inputs(self) -> dict[str, str]:
        """Return the paths and links, by the names of their fields; those of a list are numbered."""
        found: dict[str, str] = {}
        for name in self.inputs & self.fields.keys():
            value = self.fields[name]
            several = isinstance(value, list | tuple)
            found |= {f"{name}[{n}]": str(each) for n, each in enumerate(value)} if several else {name: str(value)}
        return found
