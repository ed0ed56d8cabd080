"""What one run has to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

__all__ = ["INTERVAL", "Plan", "draw_pictures"]

INTERVAL = 2.0
"""Seconds between two questions about a task: the default of a2e-async, and what the script by hand waits as well."""

Kind: TypeAlias = Literal["ours", "by_hand"]


@attrs.frozen(kw_only=True)
class Plan:
    """What one run has to do.

    Attributes:
        kind: Who does it.
        count: How many jobs.
        running: Tasks at A2E at the same time, at most.
        out: A folder for the videos, None for none.
        journal: The file that remembers, None for none.
        images: A folder with an image for each job, None for jobs that start from a link.
    """

    kind: Kind
    count: int
    running: int
    out: pathlib.Path | None = None
    journal: pathlib.Path | None = None
    pictures: pathlib.Path | None = None

    def jobs(self) -> Iterator[dict[str, str]]:
        """Make the jobs, one after the other."""
        for number in range(self.count):
            image = {"image_url": f"https://example.com/{number}.png"}
            if self.pictures is not None:
                image = {"image": str(_picture(self.pictures, number))}
            pace = "" if self.pictures else "#fast "  # done at once
            yield {"key": f"job-{number}", **image, "prompt": f"{pace}she smiles", "negative_prompt": "blurry"}


def draw_pictures(folder: pathlib.Path, count: int) -> None:
    """Make images that all differ; A2E's stand-in does not look further than their first bytes."""
    for number in range(count):
        _picture(folder, number).write_bytes(b"\x89PNG\r\n\x1a\n" + number.to_bytes(8) * 128)


def _picture(folder: pathlib.Path, number: int) -> pathlib.Path:
    return folder / f"{number}.png"
