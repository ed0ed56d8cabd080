"""A2E's group "TTS and Voice Clone": public voices, cloned voices, and speech (reference 3)."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Iterable
from typing import Literal, Unpack

from a2e_async._protocol import responses
from a2e_async._protocol.converter import to_item, voices_in
from a2e_async._protocol.endpoints import Route
from a2e_async._protocol.families import VOICES
from a2e_async._protocol.pagination import P2, Pages
from a2e_async._protocol.schema import Form, choice, flag, links, number, text
from a2e_async._protocol.validation import check_link, check_page_size, check_text, refuse
from a2e_async._submission.reconciler import Task
from a2e_async.errors import UnexpectedResponseError
from a2e_async.files.local_files import Media, open_file
from a2e_async.models.voices import PublicVoice, SpeechPreview, VoiceRecord
from a2e_async.resources.base import Languages, about, to_records
from a2e_async.resources.inputs import PurchaseOptions, Source
from a2e_async.resources.task_resource import Ongoing
from a2e_async.tasks import TaskHandle

__all__ = ["Voices"]

_TRAIN = Form(
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
_SPEAK = Form(
    {
        "msg": text(required=True, longest=1000),  # for API tokens; the schema's 3000 are for web users (trap 26)
        "tts_id": text(),
        "user_voice_id": text(),
        "country": text(),
        "region": text(),
        "speechRate": number(least=0.5, most=2.0, title="speech_rate"),
    }
)

_PUBLIC = Route.of("GET anchor/voice_list", "POST anchor/voice_list")
_COMPLETED = Route.of("GET userVoice/completedRecord")
_RENAME = Route.of("PUT userVoice/{id}")
_CLONE = Route.of("POST userVideoTwin/addVoiceClone _id", "POST userVideoTwin/cloneVoice _id")
_SEND_TTS = Route.of("POST video/send_tts")
_PREVIEWS = Route.of("GET tts/preview/list")
_DELETE_PREVIEW = Route.of("DELETE tts/preview/{id}")


class Voices(Ongoing[VoiceRecord], Languages):
    """Voices: ``client.voices``. Cloned voices are tasks: their training is started, waited for and paid.

    Clone voices of people who agree to it.
    """

    _family = VOICES
    _record = VoiceRecord

    async def public(
        self, *, country: str | None = None, region: str | None = None, voice_map_type: str | None = None
    ) -> builtins.list[PublicVoice]:
        """List the voices that everybody can use (A2E page "List Public TTS Options"). Free.

        Args:
            country: The `Language.value`, such as ``"en"`` (A2E's default).
            region: The `Region.value`, such as ``"US"`` (A2E's default).
            voice_map_type: A locale, such as ``"en-US"`` (A2E's default).

        Raises:
            A2EError: As for any request.
        """
        params = {"country": country, "region": region, "voice_map_type": voice_map_type}
        for name, value in params.items():
            if value is not None:
                check_text(name, value)
        given = {name: value for name, value in params.items() if value is not None}
        return voices_in((await self._ask(_PUBLIC, params=given)).data)

    async def completed(self) -> builtins.list[VoiceRecord]:
        """List the cloned voices that are ready to speak (A2E page "List Voice Clone Options"). Free.

        Raises:
            A2EError: As for any request.
        """
        return [*to_records(self._record, await self._ask(_COMPLETED), self._family).values()]

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
        **options: Unpack[PurchaseOptions],
    ) -> TaskHandle[VoiceRecord]:
        """Clone a voice (A2E page "Train TTS Model of The User's Voice"). Costs coins as soon as A2E accepts it.

        Usually ready within 1 to 2 minutes; A2E trains one voice at a time. Everything is checked before anything is
        sent; local samples are then uploaded, which A2E charges too. Started once, as `ImageToVideo.start` describes.

        Args:
            samples: One or more sounds of one clean speaker: paths, bytes, binary files or http(s) URLs, MP3, WAV or
                M4A (MP4 works too). Together 15 to 60 seconds; aim at 30 to 60.
            name: A display name. By default it comes from the first file's name.
            gender: ``"female"`` (A2E's default) or ``"male"``.
            model: The provider, which decides the coins (A2E's default: ``"a2e"``).
            language: Of the samples, such as ``"en-US"`` or ``"zh-CN"``. English and Chinese work best.
            denoise: Whether to clean the sound.
            enhance_voice_similarity: Whether to aim at more likeness.
            options: See `PurchaseOptions`.

        Raises:
            InvalidRequestError: A local check failed; nothing was sent.
            PlanError: The account may not have more voices.
            A2EError: As in `ImageToVideo.start`.
        """
        if isinstance(samples, str | bytes | bytearray) or not isinstance(samples, Iterable):
            refuse("samples must be several sounds, as a list")
        sources = [await _sample(f"samples[{number}]", sample) for number, sample in enumerate(samples)]
        fields = {
            "name": name,
            "gender": gender,
            "model": model,
            "language": language,
            "denoise": denoise,
            "enhance_voice_similarity": enhance_voice_similarity,
        }
        return await self._submit(_TRAIN, fields, {"voice_urls": sources}, options)

    async def clone_from_video(self, twin_id: str, *, path: str | None = None) -> TaskHandle[VoiceRecord]:
        """Clone the voice of a video twin (A2E page "Clone Voice from a Video"). What it costs is not published.

        A2E has not published this operation: path and answer are guesses of others who have used it. What surely works
        is to take the sound out of the video and to `start` with it.

        Args:
            twin_id: The video twin.
            path: A2E's path, if you know better.

        Raises:
            InvalidRequestError: It is no id; nothing was sent.
            EndpointNotAvailableError: A2E has no such operation.
            SubmissionUncertainError: Nobody knows whether A2E accepted it.
            UnexpectedResponseError: A2E accepted it and did not name the voice: see `list`.
            A2EError: As for any request.
        """
        check_text("twin_id", twin_id)
        advice = "Look at voices.list() before you try it again"
        with about(twin_id):
            envelope = await self._guess(_CLONE, path, twin_id, advice=advice)
            raw, *_ = responses.started(envelope)
        return self._handles([Task(responses.id_of(raw), raw, envelope.trace_id)])[0]

    async def rename(self, id: str, name: str) -> None:
        """Rename a cloned voice. Free.

        Raises:
            A2EError: As for any request.
        """
        check_text("name", name)
        with about(id):
            await self._tell(_RENAME, id, json={"name": name})

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
        """Speak a text, and return the link of the sound (A2E page "Generate TTS Audio"). Costs coins.

        It is sent again only if it surely was not accepted. The link needs no token and lives for about 3 days; pass it
        on as ``audio_url``, or fetch it with `A2EClient.download`.

        Args:
            msg: The text, 1 to 1,000 characters.
            tts_id: The `PublicVoice.id` of a public voice. Give this or the next one.
            user_voice_id: The id of a cloned voice, see `VoiceRecord`.
            country: With a cloned voice, the `Language.value` to speak (A2E's default: ``"en"``).
            region: With a cloned voice, the `Region.value` to speak (A2E's default: ``"US"``).
            speech_rate: The speed, 0.5 to 2.0 (A2E's default: 1).

        Raises:
            InvalidRequestError: A local check failed; nothing was sent.
            SubmissionUncertainError: Nobody knows whether A2E has spoken it; `previews` may show it.
            A2EError: As for any request.
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
            refuse("give a tts_id (a public voice) or a user_voice_id (a cloned one), and not both")
        advice = "voices.previews() shows what was spoken lately"
        envelope = await self._parts().submitter.pay(_SEND_TTS, json=body, advice=advice)
        if not isinstance(envelope.data, str) or not envelope.data:
            msg = "A2E answered without the link of the sound, which may be paid: voices.previews() may show it"
            raise UnexpectedResponseError(msg, status=envelope.status, body=envelope.body)
        return envelope.data

    async def previews(self, *, page_size: int = 100) -> AsyncIterator[SpeechPreview]:
        """Go through what was spoken in the last 24 hours. Free.

        Args:
            page_size: Records a request, 1 to 100.

        Raises:
            A2EError: As for any request.
        """
        check_page_size(page_size)
        pages = Pages(_PREVIEWS.path, page_size, P2)
        while not pages.ended:
            for raw in pages.take(await self._ask(_PREVIEWS, params=pages.next().params)):
                yield to_item(SpeechPreview, raw)

    async def delete_preview(self, id: str) -> None:
        """Forget something that was spoken; the sound itself stays for its time. Free.

        Raises:
            A2EError: As for any request.
        """
        with about(id):
            await self._tell(_DELETE_PREVIEW, id)


async def _sample(name: str, sample: Media) -> Source:
    """Check one sample."""
    if isinstance(sample, str) and "://" in sample:
        check_link(name, sample)
        return sample
    return await open_file(name, sample, "audio", "video")
