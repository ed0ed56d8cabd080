"""What a prompt can ask for: one table, the same as in docs/sandbox.md.

A tag such as ``#fail`` anywhere in the prompt decides how the task goes. Tags add up: ``#fast #fail`` fails at once.
"""

import math
import re
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from attrs import frozen


class AtStart(Enum):
    """How a start is answered when no task comes of it."""

    REFUSE = "refuse"
    FLAGGED = "flagged"


class Delivery(Enum):
    """What is wrong with the result link of a completed task."""

    EXPIRED = "expired"
    HTML = "html"
    SHORT = "short"


@frozen(kw_only=True)
class Fate:
    """What a prompt asked for; `None` leaves things as they are."""

    at_start: AtStart | None = None
    pace: float | None = None  # all durations are multiplied by it
    failure: tuple[str, str] | None = None  # failed_code, failed_message
    delivery: Delivery | None = None


# A2E publishes no list of failure codes; callers saw "generation_error" (reference 1.13).
FATES: Final[Mapping[str, Fate]] = MappingProxyType(
    {
        "#fail": Fate(failure=("generation_error", "The video could not be generated. Please try another image.")),
        "#nsfw": Fate(failure=("nsfw", "The result was withheld: nsfw content was detected.")),
        "#refuse": Fate(at_start=AtStart.REFUSE),
        "#flagged": Fate(at_start=AtStart.FLAGGED),
        "#slow": Fate(pace=10.0),
        "#stuck": Fate(pace=math.inf),
        "#fast": Fate(pace=0.0),
        "#expired": Fate(delivery=Delivery.EXPIRED),
        "#html-result": Fate(delivery=Delivery.HTML),
        "#short": Fate(delivery=Delivery.SHORT),
    }
)

_TAG = re.compile(r"#[a-z]+(?:-[a-z]+)*")


def fate_of(prompt: str) -> Fate:
    """Read the tags of a prompt; for each aspect the first tag that speaks of it decides."""
    asked = [FATES[tag] for tag in _TAG.findall(prompt.lower()) if tag in FATES]
    return Fate(
        at_start=next((fate.at_start for fate in asked if fate.at_start is not None), None),
        pace=next((fate.pace for fate in asked if fate.pace is not None), None),
        failure=next((fate.failure for fate in asked if fate.failure is not None), None),
        delivery=next((fate.delivery for fate in asked if fate.delivery is not None), None),
    )
