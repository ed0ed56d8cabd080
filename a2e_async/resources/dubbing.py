"""A2E's group "AI Dubbing": a video in another language (reference 8)."""

from __future__ import annotations

from typing import Unpack

from a2e_async import models
from a2e_async._protocol.families import DUBBINGS
from a2e_async._protocol.schema import Schema, flag, integer, link, text
from a2e_async.files.local_files import Media
from a2e_async.resources.inputs import CommonStartOptions, open_required_input
from a2e_async.resources.task_resource import OngoingTaskResource
from a2e_async.tasks import TaskHandle

__all__ = ["Dubbing"]

START = Schema(
    {
        "name": text(required=True),
        "source_url": link(required=True),
        "source_lang": text(required=True),
        "target_lang": text(required=True),
        "num_speakers": integer(required=True, min=1),
        "drop_background_audio": flag(required=True),
    }
)


class Dubbing(OngoingTaskResource["models.DubbingRecord"]):
    """Dubbing tasks: ``client.dubbing``."""

    _family = DUBBINGS

    async def start(
        self,
        *,
        target_lang: str,
        source: Media | None = None,
        source_url: str | None = None,
        source_lang: str = "auto",
        num_speakers: int = 1,
        drop_background_audio: bool = False,
        name: str | None = None,
        **options: Unpack[CommonStartOptions],
    ) -> TaskHandle[models.DubbingRecord]:
        """Start the dubbing of a video (A2E page "Start dubbing"). Costs coins as soon as A2E accepts it.

        Checks, uploads, retries and errors are as in `ImageToVideo.start`.

        Args:
            target_lang: The language of the result, a code such as ``"en"``. The list of codes is not published.
            source: The video: a path, bytes, a binary file, or an http(s) URL.
            source_url: The video as a direct http(s) link. Give one of the two.
            source_lang: The language of the video, a code such as ``"zh"``.
            num_speakers: The number of speakers.
            drop_background_audio: Whether to remove music and noise.
            name: A display name. By default it comes from the file's name.
            options: See `CommonStartOptions`.
        """
        fields = {
            "name": name,
            "source_lang": source_lang,
            "target_lang": target_lang,
            "num_speakers": num_speakers,
            "drop_background_audio": drop_background_audio,
        }
        inputs = {"source_url": await open_required_input("source", source, source_url, "video")}
        return await self._submit(START, fields, inputs, options)
