"""A2E's group "TTS and Voice Clone": public voices, cloned voices, and speech (reference 3)."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Iterable
from typing import Literal, Unpack

from a2e_async import models
from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_item, to_records, to_voices
from a2e_async._protocol.endpoints import Endpoint
from a2e_async._protocol.families import VOICES
from a2e_async._protocol.pagination import P2, PageReader
from a2e_async._protocol.schema import Schema, check_link, check_text, choice, flag, links, number, text
from a2e_async._protocol.validation import check_page_size, raise_invalid
from a2e_async.errors import UnexpectedResponseError
from a2e_async.files.local_files import Media, open_file
from a2e_async.resources.base import Languages, attach_task_id
from a2e_async.resources.inputs import CommonStartOptions, Source
from a2e_async.resources.task_resource import OngoingTaskResource
from a2e_async.tasks import TaskHandle

__all__ = ["Voices"]

TRAIN = Schema(
    {
        "name": text(required=True),
        "voice_urls": links(required=True, title="samples"),
        "gender": choice("female", "male"),
        "model": choice("a2e", "cartesia", "minimax", "elevenlabs"),
        "language": text(),
        "denoise": flag(),
        "enhance_voice_similarity": flag(),
    }
)
_SPEAK = Schema(
    {
        "msg": text(required=True, max_length=1000),  # for API tokens; the schema's 3000 are for web users (trap 26)
        "tts_id": text(),
        "user_voice_id": text(),
        "country": text(),
        "region": text(),
        "speechRate": number(min=0.5, max=2.0, title="speech_rate"),
    }
)

_PUBLIC_FILTERS = Schema({"country": text(), "region": text(), "voice_map_type": text()})

# The last one takes no parameters, and may return the voices of other locales too.
_PUBLIC = Endpoint.of("GET anchor/voice_list", "POST anchor/voice_list", "POST anchor/tts_list")
_COMPLETED = Endpoint.of("GET userVoice/completedRecord")
# Both paths are guesses (reference 5.7, grade D).
_CLONE = Endpoint.of("POST userVideoTwin/addVoiceClone _id", "POST userVideoTwin/cloneVoice _id")
_SEND_TTS = Endpoint.of("POST video/send_tts")
# A2E's documentation has no page for the previews; its current specification lists them.
_PREVIEWS = Endpoint.of("GET tts/preview/list")
_DELETE_PREVIEW = Endpoint.of("DELETE tts/preview/{id}")


class Voices(OngoingTaskResource["models.VoiceRecord"], Languages):
    """Voices: ``client.voices``. A cloned voice is a task: the training is started, costs coins, and can be waited for.

    Clone the voices of people only with their consent.
    """

    _family = VOICES

    async def public(
        self, *, country: str | None = None, region: str | None = None, voice_map_type: str | None = None
    ) -> builtins.list[models.PublicVoice]:
        """List the public voices (A2E page "List Public TTS Options"). Free.

        Args:
            country: The `Language.value`, such as ``"en"`` (A2E's default).
            region: The `Region.value`, such as ``"US"`` (A2E's default).
            voice_map_type: A locale, such as ``"en-US"`` (A2E's default).
        """
        filters = {"country": country, "region": region, "voice_map_type": voice_map_type}
        return to_voices((await self._read(_PUBLIC, params=_PUBLIC_FILTERS.check(filters))).data)

    async def completed(self) -> builtins.list[models.VoiceRecord]:
        """List the cloned voices that are ready to speak (A2E page "List Voice Clone Options"). Free."""
        return [*to_records(await self._read(_COMPLETED), self._family).values()]

    async def start(
        self,
        *,
        samples: Iterable[Media],
        name: str | None = None,
        gender: Literal["female", "male"] | None = None,
        model: Literal["a2e", "cartesia", "minimax", "elevenlabs"] | None = None,
        language: str | None = None,
        denoise: bool | None = None,
        enhance_voice_similarity: bool | None = None,
        **options: Unpack[CommonStartOptions],
    ) -> TaskHandle[models.VoiceRecord]:
        """Start the training of a cloned voice (A2E page "Train TTS Model of The User's Voice").

        Costs coins as soon as A2E accepts it. A voice is usually ready within 1 to 2 minutes; A2E trains one voice at a
        time. Checks, uploads, retries and errors are as in `ImageToVideo.start`.

        Args:
            samples: One or more recordings of one speaker without noise: paths, bytes, binary files or http(s) URLs,
                MP3, WAV or M4A (MP4 works too). Together 15 to 60 seconds; 30 to 60 are best.
            name: A display name. By default it comes from the first file's name.
            gender: ``"female"`` (A2E's default) or ``"male"``.
            model: The provider, which decides the price (A2E's default: ``"a2e"``).
            language: The language of the samples, such as ``"en-US"`` or ``"zh-CN"``. English and Chinese work best.
            denoise: Whether to remove noise from the samples.
            enhance_voice_similarity: Whether to make the voice more similar to the samples.
            options: See `CommonStartOptions`.

        Raises:
            PlanError: The account's plan does not allow more voices.
        """
        # A str is iterable too: samples="ada.mp3" would be seven samples of one letter.
        if isinstance(samples, str | bytes | bytearray) or not isinstance(samples, Iterable):
            raise_invalid("samples must be a list of audio files or links")
        sources = [await _sample(f"samples[{number}]", sample) for number, sample in enumerate(samples)]
        fields = {
            "name": name,
            "gender": gender,
            "model": model,
            "language": language,
            "denoise": denoise,
            "enhance_voice_similarity": enhance_voice_similarity,
        }
        return await self._submit(TRAIN, fields, {"voice_urls": sources}, options)

    async def clone_from_video(self, twin_id: str, *, path: str | None = None) -> TaskHandle[models.VoiceRecord]:
        """Clone the voice of a video twin (A2E page "Clone Voice from a Video"). The price is not published.

        A2E has not published this operation: the path and the response are guesses. A safe alternative is to extract
        the audio of the video and pass it to `start`.

        Args:
            twin_id: The id of the video twin.
            path: A2E's path, instead of the guess.

        Raises:
            EndpointNotAvailableError: A2E has no such operation.
            SubmissionUncertainError: Unknown outcome: A2E may have accepted it.
            UnexpectedResponseError: A2E accepted the request and did not return the voice: see `list`.
        """
        check_text("twin_id", twin_id)
        advice = "Check voices.list() before you try again"
        with attach_task_id(twin_id):
            envelope = await self._call_undocumented(_CLONE, path, twin_id, advice=advice)
            task, *_ = responses.accepted_tasks(envelope)  # also raises if the response names no voice
        return self._to_handle(task)

    async def rename(self, id: str, name: str) -> None:
        """Rename a cloned voice. Free. A marker in the old name is kept, so that its idempotency key still finds it."""
        await self._rename(id, name)

    async def speak(
        self,
        msg: str,
        *,
        tts_id: str | None = None,
        user_voice_id: str | None = None,
        country: str | None = None,
        region: str | None = None,
        speech_rate: float | None = None,
    ) -> str:
        """Convert a text to speech, and return the link of the audio (A2E page "Generate TTS Audio"). Costs coins.

        The request is retried only if A2E certainly did not accept it. The link needs no token and works for about 3
        days: pass it on as ``audio_url``, or download it with `A2EClient.download`.

        Args:
            msg: The text, 1 to 1,000 characters.
            tts_id: The `PublicVoice.id` of a public voice. Give either this or `user_voice_id`.
            user_voice_id: The id of a cloned voice, see `VoiceRecord`.
            country: For a cloned voice, the `Language.value` of the speech (A2E's default: ``"en"``).
            region: For a cloned voice, the `Region.value` of the speech (A2E's default: ``"US"``).
            speech_rate: The speed, 0.5 to 2.0 (A2E's default: 1).

        Raises:
            SubmissionUncertainError: Unknown outcome: A2E may have accepted it, and `previews` may show the audio.
        """
        body = _SPEAK.check(
            {
                "msg": msg,
                "tts_id": tts_id,
                "user_voice_id": user_voice_id,
                "country": country,
                "region": region,
                "speechRate": speech_rate,
            }
        )
        if ("tts_id" in body) == ("user_voice_id" in body):
            raise_invalid("give either tts_id (a public voice) or user_voice_id (a cloned voice)")
        advice = "Check voices.previews() before you try again"
        envelope = await self._services().submitter.post_paid(_SEND_TTS, json=body, advice=advice)
        if not isinstance(envelope.data, str) or not envelope.data:
            msg = "A2E's response contains no link of the audio, which may have cost coins: check voices.previews()"
            raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)
        return envelope.data

    async def previews(self, *, page_size: int = 100) -> AsyncIterator[models.SpeechPreview]:
        """Iterate over the speech of the last 24 hours. Free.

        Args:
            page_size: Records in one request, 1 to 100.
        """
        check_page_size(page_size)
        pages = PageReader(_PREVIEWS.path, page_size, P2)
        while not pages.ended:
            for raw in pages.read(await self._read(_PREVIEWS, params=pages.next_request().params)):
                yield to_item(models.SpeechPreview, raw)

    async def delete_preview(self, id: str) -> None:
        """Delete the entry of one speech. The audio itself stays until it expires. Free."""
        with attach_task_id(id):
            await self._write(_DELETE_PREVIEW, id)


async def _sample(name: str, sample: Media) -> Source:
    """Check one sample."""
    if isinstance(sample, str) and "://" in sample:
        check_link(name, sample)
        return sample
    return await open_file(name, sample, "audio", "video")
