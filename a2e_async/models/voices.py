"""Values of A2E's group "TTS and Voice Clone"."""

import datetime as dt

import attrs

from a2e_async.models.common import Item, TaskRecord


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PublicVoice(Item):
    """Public voice (A2E page "List Public TTS Options").

    Attributes:
        id: The ``tts_id`` of `Voices.speak`.
        name: The name.
        gender: ``"female"`` or ``"male"``; may be empty.
    """

    id: str = ""
    name: str = ""
    gender: str = ""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Region(Item):
    """Region in which a language is spoken.

    Attributes:
        value: A2E's ``region``, such as ``"US"``.
        label: The name.
    """

    value: str = ""
    label: str = ""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Language(Item):
    """Language of voices (A2E page "List Available Languages").

    Attributes:
        value: A2E's ``country``, such as ``"en"``.
        label: The name.
        regions: The regions in which the language is spoken.
    """

    value: str = ""
    label: str = ""
    regions: tuple[Region, ...] = ()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class VoiceRecord(TaskRecord):
    """Cloned voice, and the task that trains it (A2E page "Get Details of a Voice").

    The `id` of a trained voice is the ``user_voice_id`` of `Voices.speak`. There is nothing to download.

    Attributes:
        voice_urls: The samples of the training.
        gender: ``"female"`` or ``"male"``.
        model: The provider of the training, which decided the price.
        lang: The language.
        language: The language with a region.
        speaker_id: An older id; A2E's current specification uses `id` instead.
        denoise: Whether the samples were cleaned.
        enhance_voice_similarity: Whether the start set this option.
        tts_rate: Coins for 10 seconds of speech with the voice.
        has_refund_coin: Whether the coins were returned because the training failed.
        updated_at: Time of the last change (UTC), or None.
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


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SpeechPreview(Item):
    """Speech that was made in the last 24 hours. A2E does not publish its fields: see `extra`.

    Attributes:
        id: The id for `Voices.delete_preview`.
        msg: The text.
        url: Link of the audio; empty if A2E uses another name for the field.
        created_at: Time when the speech was made (UTC), or None.
    """

    id: str = ""
    msg: str = attrs.field(default="", repr=False)
    url: str = attrs.field(default="", repr=False)
    created_at: dt.datetime | None = None
