"""The faults and their times. The server injects them in every dialect."""

from __future__ import annotations

import enum

import attrs

__all__ = ["DURATION", "JOBS", "SCENARIOS", "Fault", "Scenario"]

JOBS = 3  # for each SDK and scenario

# Seconds from the acceptance of a job to its completion. No job ever fails at the server.
DURATION = 3.0


class Fault(enum.Enum):
    """The response of the server instead of the right one."""

    DROP = "the connection is closed without an answer"
    ERROR = "500 and an error in the vendor's own JSON"
    GATEWAY = "502 and the HTML page of a gateway"


@attrs.frozen(kw_only=True)
class Scenario:
    """The same faults for every job.

    Attributes:
        key: Short name. The API key of a client ends with it, so that the server knows the scenario.
        title: Name in the table.
        starts: Faults of the first, second … start request of a job. The server has accepted and charged it.
        poll_faults: Faults of the first, second … poll of a job.
        is_killed: The process is killed after the starts, and the same program runs again.
    """

    key: str
    title: str
    starts: tuple[Fault, ...] = ()
    poll_faults: tuple[Fault, ...] = ()
    is_killed: bool = False


SCENARIOS = (
    Scenario(key="none", title="no fault (control)"),
    Scenario(key="startdrop", title="start accepted, then dropped without an answer", starts=(Fault.DROP,)),
    Scenario(key="starterror", title="start accepted, then answered with 500", starts=(Fault.ERROR,)),
    Scenario(key="gateway", title="one 502 while waiting", poll_faults=(Fault.GATEWAY,)),
    Scenario(key="drops", title="seven drops in a row while waiting", poll_faults=(Fault.DROP,) * 7),
    Scenario(key="killed", title="killed after the starts, and run again", is_killed=True),
)
