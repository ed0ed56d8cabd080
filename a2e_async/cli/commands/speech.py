"""``a2e speak`` and ``avatar-video``, with the lists that they need: ``a2e voices`` and ``avatars``."""

import asyncio
import difflib
import pathlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import attrs
from cyclopts import Group, Parameter

from a2e_async import A2EClient, TaskHandle
from a2e_async.cli.conversion import unused_path
from a2e_async.cli.families import chosen_family
from a2e_async.cli.messages import one_line, print_error
from a2e_async.cli.method_options import COMMON_NAMES, PathOrLink, given, method_options
from a2e_async.cli.options import COMMON_TEXTS, DEFAULT_CONNECTION, FLAG, Connection, Out
from a2e_async.cli.output import is_stdout, print_json, print_rows, video_file
from a2e_async.cli.tasks import DEFAULT_MAKE, MakeOptions, NewTask, extension_of_link, input_name, make, open_in_viewer
from a2e_async.errors import A2EError, InvalidRequestError
from a2e_async.files.local_files import check_target
from a2e_async.resources.avatar_videos import AvatarVideos
from a2e_async.resources.voices import Voices

_Speech = method_options(
    Voices.speak, "country", "region", "speech_rate",
    country="The language of the voice, such as en (A2E's default) or es.",
    region="The region of the language, such as US (A2E's default) or ES.",
)  # fmt: skip
_Videos = method_options(
    AvatarVideos.start,
    "title", "resolution", "back_id", "custom_back_id", "color", "anchor_background_img", "anchor_background_color",
    "web_bg_width", "web_bg_height", "web_people_width", "web_people_height", "web_people_x", "web_people_y",
    "is_caption_enabled", "face_swap_id", *COMMON_NAMES,
    back_id="A background of A2E. It needs the four sizes, as do the next two options.",
    face_swap_id="The id of a saved face, which replaces the avatar's own.", **COMMON_TEXTS,
)  # fmt: skip


@Parameter(name="*", group=Group("Speech options", sort_key=1))
class SpeechOptions(_Speech):  # type: ignore[misc, valid-type]  # made at run time
    """Options of speech."""


@Parameter(name="*", group=Group("Video options", sort_key=2))
class AvatarVideoOptions(_Videos):  # type: ignore[misc, valid-type]  # made at run time
    """Options of an avatar video."""


_NO_SPEECH_OPTIONS, _NO_VIDEO_OPTIONS = SpeechOptions(), AvatarVideoOptions()
Text = Annotated[str, Parameter(allow_leading_hyphen=True)]


@attrs.frozen(kw_only=True)
class _Voice:
    """A voice of A2E, or a cloned one."""

    id: str
    name: str
    gender: str
    kind: Literal["cloned", "public"]
    language: str = ""


async def _list_voices(a2e: A2EClient, options: SpeechOptions, *, cloned_only: bool = False) -> list[_Voice]:
    voices = [
        _Voice(id=voice.id, name=voice.name, gender=voice.gender, kind="cloned", language=voice.language or voice.lang)
        for voice in await a2e.voices.completed()
    ]
    if not cloned_only:
        where = {"country": options.country, "region": options.region}
        public = await a2e.voices.public(**where)
        voices += [_Voice(id=each.id, name=each.name, gender=each.gender, kind="public") for each in public]
    return voices


def _choose(what: str, wanted: str, items: Sequence[Any]) -> Any:  # noqa: ANN401  a voice or an avatar
    """Return the item with an id or a name."""
    found = [item for item in items if item.id == wanted] or [
        item for item in items if item.name.split(" [a2e:")[0].casefold() == wanted.casefold()
    ]
    if len(found) > 1:
        ids = ", ".join(item.id for item in found)
        msg = f"there are {len(found)} {what}s with the name {wanted!r}: give an id: {ids}"
        raise InvalidRequestError(msg)
    if not found:
        close = difflib.get_close_matches(wanted, [item.name for item in items], 1)
        hint = f"Did you mean {close[0]!r}? " if close else ""
        msg = f"A2E has no {what} {wanted!r}. {hint}a2e {what}s lists them"
        raise InvalidRequestError(one_line(msg))
    return found[0]


async def _speak(a2e: A2EClient, text: str, voice: _Voice, options: SpeechOptions) -> str:
    """Make speech and return its link. Costs coins."""
    which: dict[str, Any] = {"user_voice_id": voice.id} if voice.kind == "cloned" else {"tts_id": voice.id}
    try:
        return await a2e.voices.speak(text, **which, **given(options))
    except A2EError as error:
        error.message = error.message.replace("voices.previews()", "a2e voices --speech")
        raise


async def voices(
    *,
    cloned: Annotated[bool, FLAG] = False,
    speech: Annotated[bool, FLAG] = False,
    country: str | None = None,
    region: str | None = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """List the voices: those of A2E for a language, and the cloned ones of the account. Free.

    Try:

        a2e voices
        a2e voices --country es --region ES

    Without a terminal, the columns are id, name, gender, kind and language, with tabs between them.

    Args:
        cloned: Only the cloned voices.
        speech: Instead, the speech of the last 24 hours, with its links, which need no token.
        country: The language, such as en (A2E's default) or es.
        region: The region, such as US (A2E's default) or ES.
        connection: The shared options.
    """
    async with connection.client() as a2e:
        if speech:
            made = [
                {"id": each.id, "created": str(each.created_at or ""), "link": each.url, "text": each.msg}
                async for each in a2e.voices.previews()
            ]
            print_rows(made, as_json=connection.json)
            return
        options = SpeechOptions(country=country, region=region)
        found = await _list_voices(a2e, options, cloned_only=cloned)
    print_rows([attrs.asdict(voice) for voice in found], as_json=connection.json)


async def avatars(
    *,
    type: Literal["default", "custom"] | None = None,  # noqa: A002  the name in A2E's API
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """List the avatars that can speak in a video. Free.

    Try:

        a2e avatars
        a2e avatars --type custom --json

    Without a terminal, the columns are id, name, type and gender, with tabs between them.

    Args:
        type: default for those of A2E, custom for those of the account. Default: all.
        connection: The shared options.
    """
    async with connection.client() as a2e:
        found = [avatar async for avatar in a2e.avatars.list(type=type)]
    if connection.json:
        print_rows([avatar.to_dict(links=True) for avatar in found], as_json=True)
    else:
        columns = ("id", "name", "type", "gender")
        print_rows([{name: getattr(avatar, name) for name in columns} for avatar in found], as_json=False)


def speak(
    text: Text,
    /,
    *,
    voice: str,
    out: Annotated[pathlib.Path | None, Out] = None,
    overwrite: Annotated[bool, FLAG] = False,
    open: Annotated[bool, FLAG] = False,  # noqa: A002  the name of the option
    options: SpeechOptions = _NO_SPEECH_OPTIONS,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Convert a text to speech, and download the audio. This costs coins.

    Try:

        a2e speak "Welcome, and thank you for coming." --voice Emma --out welcome.mp3

    `a2e voices` lists the voices. The options --country and --region also select the public voices among which --voice
    is searched.

    Args:
        text: The text, 1 to 1,000 characters.
        voice: The name or the id of a voice, see a2e voices.
        out: The file to write; - is standard output. Default: speech with the ending of the audio.
        overwrite: Replace an existing file.
        open: Open the audio with the system's viewer.
        options: The options of the speech.
        connection: The shared options.
    """
    with video_file(out or pathlib.Path("speech"), as_json=connection.json, extension="") as target:
        link, path = asyncio.run(_make_speech(text, voice, target, options, connection, out=out, overwrite=overwrite))
    if connection.json:
        print_json({"path": str(path), "url": link})
    elif out is None or not is_stdout(out):
        print(path)
        if open:
            open_in_viewer(path)


async def _make_speech(
    text: str,
    voice: str,
    target: pathlib.Path,
    options: SpeechOptions,
    connection: Connection,
    *,
    out: pathlib.Path | None,
    overwrite: bool,
) -> tuple[str, pathlib.Path]:
    """Make speech and download it; return its link and its file."""
    async with connection.client() as a2e:
        await check_target(target, overwrite=overwrite)  # before the start, which costs coins
        chosen = _choose("voice", voice, await _list_voices(a2e, options))
        link = await _speak(a2e, text, chosen, options)
        try:
            path = target
            if out is None:
                path = unused_path(pathlib.Path(f"speech{extension_of_link(link)}"), overwrite=overwrite)
            await a2e.download(link, path, overwrite=overwrite)
        except BaseException:  # also Ctrl-C
            print_error(f"the speech is made and paid. It can be downloaded for about 3 days: {link}")
            raise
    return link, path


def avatar_video(
    text: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    avatar: str,
    voice: str | None = None,
    audio: PathOrLink | None = None,
    make_options: MakeOptions = DEFAULT_MAKE,
    speech_options: SpeechOptions = _NO_SPEECH_OPTIONS,
    options: AvatarVideoOptions = _NO_VIDEO_OPTIONS,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Make a video in which an avatar speaks a text, or an audio file. This costs coins.

    Try:

        a2e avatar-video "Welcome!" --avatar Anna --voice Emma --out hi.mp4
        a2e avatar-video --avatar Anna --audio welcome.mp3 --out welcome.mp4

    A text is converted to speech first, which costs coins too. A local audio file is uploaded.

    Args:
        text: The text, 1 to 1,000 characters. It needs --voice.
        avatar: The name or the id of an avatar, see a2e avatars.
        voice: The name or the id of a voice, see a2e voices.
        audio: Instead of a text, the speech: a path or a link (MP3, WAV, M4A, OGG, FLAC).
        make_options: The options of the file.
        speech_options: The options of the speech.
        options: The options of the video.
        connection: The shared options.
    """
    if (text is None) == (audio is None):
        msg = "give either a text, with --voice, or --audio"
        raise InvalidRequestError(msg)
    if text is not None and voice is None:
        msg = "a text needs --voice: a2e voices lists the voices"
        raise InvalidRequestError(msg)

    async def start(a2e: A2EClient) -> Sequence[TaskHandle[Any]]:
        chosen = _choose("avatar", avatar, [each async for each in a2e.avatars.list()])
        source, speech = audio, ""
        if text is not None:
            spoken_by = _choose("voice", str(voice), await _list_voices(a2e, speech_options))
            source = speech = await _speak(a2e, text, spoken_by, speech_options)
        which = {"anchor_id": chosen.id, "anchor_type": int(chosen.type == "custom")}
        try:
            return [await a2e.avatar_videos.start(**which, audio=source, **given(options))]
        except BaseException:
            if speech:
                print_error(f"the speech is made and paid. To use it again, give it as --audio: {speech}")
            raise

    name = "avatar" if audio is None else input_name(audio)
    return make(chosen_family("video"), [NewTask(name=name, start=start)], make_options, connection)
