"""What a task of each family costs, in coins. Few prices are published (reference 1.8); the others are ours."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from a2e_async.sandbox.family import Sent


def seconds_of(sent: Sent) -> int:
    """Read how long a result shall be, wherever the family says it (reference 14, trap 29); 5 is the usual length."""
    inner = sent.get("parameters")
    asked = [sent.get(name) for name in ("video_time", "duration", "duration_seconds")]
    asked.append(inner.get("duration") if isinstance(inner, Mapping) else None)
    for value in asked:
        if isinstance(value, int) and value > 0:
            return value
        if isinstance(value, str) and value.isdecimal():
            return int(value)
    return 5


def flat(coins: int) -> Callable[[Sent], int]:
    """Charge the same for every task."""
    return lambda _: coins


def per_second(coins: int) -> Callable[[Sent], int]:
    """Charge for the length of the result."""
    return lambda sent: coins * max(1, seconds_of(sent))


# Coins per 5 seconds. About 30 was seen for a2e; a2e-v2-flash costs the same, a2e-v2 more (reference 1.8).
# How much more is unpublished; we charge the double.
PRICES: Final = MappingProxyType({"a2e": 30, "a2e-v2": 60, "a2e-v2-flash": 30})


def image_to_video(sent: Sent) -> int:
    """Linear in the seconds (reference 1.8)."""
    return PRICES[sent["model_version"]] * seconds_of(sent) // 5


def text_to_image(sent: Sent) -> int:
    """10 and 25 were seen (reference 1.8)."""
    return 25 if sent.get("model_type") == "seedream" else 10


def gpt_image(sent: Sent) -> int:
    """Published, for once (reference 1.8)."""
    if sent.get("model") == "gpt-image-2":
        return {"1K": 25, "2K": 35, "4K": 45}[sent["resolution"]]
    return {"medium": 20, "high": 35}[sent["quality"]]


def talking(sent: Sent) -> int:
    """13 coins for 5 seconds were seen (reference 1.8); linear is our guess."""
    return -(-13 * seconds_of(sent) // 5)


def twin(sent: Sent) -> int:
    """A video is free, a picture costs 30 credits (reference 5.1 and 1.8)."""
    return 0 if sent.get("video_url") else 30
