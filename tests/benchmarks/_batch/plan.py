"""Jobs of one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

__all__ = ["INTERVAL", "Plan", "make_images"]

INTERVAL = 2.0
"""Seconds between two polls of a task: the default of a2e-async, used by the handwritten script as well."""

Client: TypeAlias = Literal["ours", "by_hand", "by_hand_safe"]


@attrs.frozen(kw_only=True)
class Plan:
    """Jobs of one run.

    Attributes:
        client: The module that runs it.
        count: Number of jobs.
        running: Tasks at A2E at the same time, at most.
        out: A folder for the videos, None for none.
        journal: The file of the journal, None for none.
        images: A folder with an image for each job, None for jobs that start from a link.
        uvloop: Whether the event loop is that of uvloop.
    """

    client: Client
    count: int
    running: int
    out: pathlib.Path | None = None
    journal: pathlib.Path | None = None
    images: pathlib.Path | None = None
    uvloop: bool = False

    def jobs(self) -> Iterator[dict[str, str]]:
        """Yield the jobs."""
        for number in range(self.count):
            image = {"image_url": f"https://example.com/{number}.png"}
            if self.images is not None:
                image = {"image": str(_image_path(self.images, number))}
            pace = "" if self.images else "#fast "  # the task ends at once
            yield {"key": f"job-{number}", **image, "prompt": f"{pace}she smiles", "negative_prompt": "blurry"}


_CHUNKS = ((b"IHDR", bytes(13)), (b"IDAT", bytes(16)), (b"IEND", b""))
_PNG = b"\x89PNG\r\n\x1a\n" + b"".join(len(data).to_bytes(4) + kind + data + bytes(4) for kind, data in _CHUNKS)


def make_images(folder: pathlib.Path, count: int) -> None:
    """Make images that all differ, behind their end; the sandbox reads only their first bytes."""
    for number in range(count):
        _image_path(folder, number).write_bytes(_PNG + number.to_bytes(8) * 128)


def _image_path(folder: pathlib.Path, number: int) -> pathlib.Path:
    return folder / f"{number}.png"
