"""Scenarios that a prompt can ask for by tags, such as ``#fail``. docs/sandbox.md has the same table.

Tags add up: a task with ``#fast #fail`` fails at once.
"""

import math
import re
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from attrs import frozen


class Rejection(Enum):
    """How a start is answered without making a task."""

    REJECTED = "refuse"
    FLAGGED = "flagged"


class Delivery(Enum):
    """Fault of the result URL of a completed task."""

    EXPIRED = "expired"
    HTML = "html"
    SHORT = "short"


@frozen(kw_only=True)
class Scenario:
    """Course of one task. `None` is the normal course."""

    rejection: Rejection | None = None
    pace: float | None = None  # a factor for all durations
    failure: tuple[str, str] | None = None  # failed_code, failed_message
    delivery: Delivery | None = None


# A2E publishes no list of failure codes; callers saw "generation_error" (reference 1.13).
SCENARIOS: Final[Mapping[str, Scenario]] = MappingProxyType(
    {
        "#fail": Scenario(failure=("generation_error", "The video could not be generated. Please try another image.")),
        "#nsfw": Scenario(failure=("nsfw", "The result was withheld: nsfw content was detected.")),
        "#refuse": Scenario(rejection=Rejection.REJECTED),
        "#flagged": Scenario(rejection=Rejection.FLAGGED),
        "#slow": Scenario(pace=10.0),
        "#stuck": Scenario(pace=math.inf),
        "#fast": Scenario(pace=0.0),
        "#expired": Scenario(delivery=Delivery.EXPIRED),
        "#html-result": Scenario(delivery=Delivery.HTML),
        "#short": Scenario(delivery=Delivery.SHORT),
    }
)

_TAG = re.compile(r"#[a-z]+(?:-[a-z]+)*")


def scenario_of(prompt: str) -> Scenario:
    """Return the scenario of a prompt. For each field the first tag that sets it decides."""
    chosen = [SCENARIOS[tag] for tag in _TAG.findall(prompt.lower()) if tag in SCENARIOS]
    return Scenario(
        rejection=next((scenario.rejection for scenario in chosen if scenario.rejection is not None), None),
        pace=next((scenario.pace for scenario in chosen if scenario.pace is not None), None),
        failure=next((scenario.failure for scenario in chosen if scenario.failure is not None), None),
        delivery=next((scenario.delivery for scenario in chosen if scenario.delivery is not None), None),
    )
