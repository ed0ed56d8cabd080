"""What goes wrong, and when. The server injects it, whatever the dialect."""

from __future__ import annotations

import enum

import attrs

__all__ = ["DURATION", "JOBS", "SCENARIOS", "Fault", "Scenario"]

JOBS = 3
"""Jobs per SDK and scenario."""

DURATION = 3.0
"""Seconds from the acceptance of a job until it is completed. No job ever fails at the server."""


class Fault(enum.Enum):
    """What a client gets instead of the answer that it should have got."""

    DROP = "the connection is closed without an answer"
    ERROR = "500 and an error in the vendor's own JSON"
    GATEWAY = "502 and the HTML page of a gateway"


@attrs.frozen(kw_only=True)
class Scenario:
    """The same trouble for every job.

    Attributes:
        key: A word for it; the API key that a client uses ends with it, so that the server knows.
        title: What the table calls it.
        starts: What happens to the first, second … start request of a job. The server has accepted and charged it.
        looks: What happens to the first, second … question about the status of a job.
    """

    key: str
    title: str
    starts: tuple[Fault, ...] = ()
    looks: tuple[Fault, ...] = ()


SCENARIOS = (
    Scenario(key="none", title="no fault (control)"),
    Scenario(key="startdrop", title="start accepted, then dropped without an answer", starts=(Fault.DROP,)),
    Scenario(key="starterror", title="start accepted, then answered with 500", starts=(Fault.ERROR,)),
    Scenario(key="gateway", title="one 502 while waiting", looks=(Fault.GATEWAY,)),
    Scenario(key="drops", title="seven drops in a row while waiting", looks=(Fault.DROP,) * 7),
)
