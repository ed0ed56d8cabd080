"""Values of A2E's group "TTS and Voice Clone"."""

from __future__ import annotations

import datetime as dt

import attrs

from a2e_async.models.common import Item, TaskRecord

__all__ = ["Language", "PublicVoice", "Region", "SpeechPreview", "VoiceRecord"]


@attrs.frozen(kw_only=True)
class PublicVoice(Item):
    """A voice that everybody can use (A2E page "List Public TTS Options").

    Attributes:
        id: What `Voices.speak` takes as ``tts_id``.
        name: Its name.
        gender: ``"female"`` or ``"male"``; empty if A2E did not say.
    """

    id: str = ""
    name: str = ""
    gender: str = ""


@attrs.frozen(kw_only=True)
class Region(Item):
    """A region in which a language is spoken.

    Attributes:
        value: What A2E takes as ``region``, such as ``"US"``.
        label: Its name.
    """

    value: str = ""
    label: str = ""


@attrs.frozen(kw_only=True)
class Language(Item):
    """A language that voices speak (A2E page "List Available Languages").

    Attributes:
        value: What A2E takes as ``country``, such as ``"en"``.
        label: Its name.
        regions: Where it is spoken.
    """

    value: str = ""
    label: str = ""
    regions: tuple[Region, ...] = ()


@attrs.frozen(kw_only=True)
class VoiceRecord(TaskRecord):
    """A cloned voice, which is the task of its training too (A2E page "Get Details of a Voice").

    Its `id` is what `Voices.speak` takes as ``user_voice_id`` once it is trained. There is nothing to download.

    Attributes:
        voice_urls: The samples that it was trained with.
        gender: ``"female"`` or ``"male"``.
        model: The provider that it was trained with, which decided the coins.
        lang: Its language.
        language: Its language, with a region.
        speaker_id: An older id; A2E's current specification wants `id` instead.
        denoise: Whether the samples were cleaned.
        enhance_voice_similarity: Whether more likeness was asked for.
        tts_rate: Coins for 10 seconds of speech with it.
        has_refund_coin: Whether the coins came back because the training failed.
        updated_at: When it has changed the last time (UTC), or None.
    """

    voice_urls: tuple[str, ...] = attrs.field(default=(), repr=False)
    gender: str = ""
    model: str = ""
    lang: str = ""
    language: str = ""
    speaker_id: str = ""
    denoise: bool | None = None
    enhance_voice_similarity: bool | None = None
    tts_rate: float | None = None
    has_refund_coin: bool | None = None
    updated_at: dt.datetime | None = None


@attrs.frozen(kw_only=True)
class SpeechPreview(Item):
    """Something that was spoken in the last 24 hours. What A2E shows of it is not published: see `extra`.

    Attributes:
        id: What `Voices.delete_preview` takes.
        msg: The text.
        url: Where the sound is; empty if A2E calls it otherwise.
        created_at: When it was made (UTC), or None.
    """

    id: str = ""
    msg: str = attrs.field(default="", repr=False)
    url: str = attrs.field(default="", repr=False)
    created_at: dt.datetime | None = None
