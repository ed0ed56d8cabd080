"""The sounds, images and videos that the sandbox makes: real ones, which players can open."""

from __future__ import annotations

import array
import io
import threading
import wave
from typing import TYPE_CHECKING, Any

import av
import pytest
from PIL import Image

from a2e_async.sandbox.media.remux import LONGEST, remux, render_speech, with_sound
from a2e_async.sandbox.media.renderer import tiny
from a2e_async.sandbox.media.storage import PictureError
from a2e_async.sandbox.media.video import Stopped, paint

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

GO = threading.Event()
STOP = threading.Event()
STOP.set()


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """Name a file."""
    return tmp_path / "made"


def kinds(path: pathlib.Path) -> list[tuple[str, str]]:
    """List the streams of a file: their types and codecs."""
    with av.open(str(path), "r") as container:
        return [(stream.type, stream.codec_context.name) for stream in container.streams]


def seconds(path: pathlib.Path) -> float:
    """Measure a file."""
    with av.open(str(path), "r") as container:
        assert container.duration is not None
        return container.duration / av.time_base


def frames(path: pathlib.Path) -> list[Any]:
    """Decode the images of a video."""
    with av.open(str(path), "r") as container:
        return [frame.to_image() for frame in container.decode(video=0)]  # type: ignore[no-untyped-call]  # av's


def test_speech_can_be_played(path: pathlib.Path) -> None:
    """Speech is an MP3 that lasts as long as the text, at the usual speed or another one."""
    text = "Welcome to a short test of speech that nobody understands. " * 2
    render_speech(text, 1.0, path, GO)
    assert kinds(path) == [("audio", "mp3float")]
    usual = seconds(path)
    assert usual == pytest.approx(len(text) / 14, abs=0.3)
    render_speech(text, 2.0, path, GO)
    assert seconds(path) == pytest.approx(usual / 2, abs=0.3)


def test_speech_is_loud_and_has_gaps(path: pathlib.Path) -> None:
    """There is sound in it, and silence between the words."""
    render_speech("Hello there everybody", 1.0, path, GO)
    with av.open(str(path), "r") as container:
        loud = av.AudioResampler(format="s16", layout="mono")
        parts = [part for frame in container.decode(audio=0) for part in loud.resample(frame)]
        loudness = [max(map(abs, array.array("h", bytes(part.planes[0])[: 2 * part.samples]))) for part in parts]
    assert max(loudness) > 3000
    assert min(loudness[3:-3]) < max(loudness) / 10


@pytest.mark.parametrize("text", ["", "   ", "é"])
def test_any_text_can_be_spoken(path: pathlib.Path, text: str) -> None:
    """Speech is never shorter than half a second."""
    render_speech(text, 1.0, path, GO)
    assert seconds(path) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("most", [1.0, pytest.param(LONGEST, marks=pytest.mark.soak)])
def test_a_long_text_ends(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, most: float) -> None:
    """Speech is never longer than two minutes, here a second."""
    assert LONGEST == 120
    monkeypatch.setattr("a2e_async.sandbox.media.remux.LONGEST", most)
    render_speech("x" * 5000, 1.0, path, GO)
    assert seconds(path) == pytest.approx(most, abs=0.1)


def test_avatar_video_has_the_sound(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """A speaking avatar is a video with a sound track, as long as the sound."""
    sound = tmp_path / "sound"
    render_speech("Welcome to a short test.", 1.0, sound, GO)
    with_sound(None, sound.read_bytes(), path, GO)
    assert kinds(path) == [("video", "h264"), ("audio", "aac")]
    assert seconds(path) == pytest.approx(seconds(sound), abs=0.2)
    first, *_, last = frames(path)
    assert first.size == (720, 1280)
    assert last.getpixel((360, 1279)) != (0, 0, 0)  # no edge shows


def test_avatar_video_shows_the_picture(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The image that was given is what one sees."""
    file = io.BytesIO()
    Image.new("RGB", (301, 199), (200, 30, 30)).save(file, "PNG")
    with_sound(file.getvalue(), tiny("audio")[0], path, GO)
    red, green, blue = frames(path)[0].getpixel((150, 100))
    assert red > 150
    assert max(green, blue) < 80


def test_copy_keeps_what_it_can(path: pathlib.Path) -> None:
    """A video that an MP4 can hold is copied, its packets untouched."""
    source = tiny("video")[0]
    remux(source, path, GO)
    assert kinds(path)[0] == ("video", "h264")
    with av.open(io.BytesIO(source), "r") as given, av.open(str(path), "r") as made:
        sent, got = ([bytes(packet) for packet in one.demux(video=0)] for one in (given, made))
    assert got == sent


def test_copy_encodes_what_it_must(path: pathlib.Path) -> None:
    """A video of another kind becomes H.264 and AAC."""
    source = io.BytesIO()
    with av.open(source, "w", format="matroska") as container:
        picture = container.add_stream("libvpx", rate=10)
        picture.width, picture.height, picture.pix_fmt = 65, 49, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=44_100)
        sound.layout = "stereo"
        for number in range(10):
            frame = av.VideoFrame(65, 49, "yuv420p")
            frame.pts = number
            container.mux(picture.encode(frame))
        silence = av.AudioFrame(format="s16", layout="stereo", samples=44_100)
        for plane in silence.planes:
            plane.update(bytes(plane.buffer_size))
        silence.sample_rate, silence.pts = 44_100, 0
        container.mux(sound.encode(silence))
        container.mux(picture.encode(None))
        container.mux(sound.encode(None))
    remux(source.getvalue(), path, GO)
    assert kinds(path) == [("video", "h264"), ("audio", "aac")]
    assert len(frames(path)) == 10


@pytest.mark.parametrize(
    ("work", "code"),
    [
        pytest.param(lambda path: remux(b"", path, GO), "video_invalid", id="nothing"),
        pytest.param(lambda path: remux(b"no video" * 99, path, GO), "video_invalid", id="a text"),
        pytest.param(lambda path: remux(tiny("audio")[0], path, GO), "video_invalid", id="a sound"),
        pytest.param(lambda path: with_sound(None, b"", path, GO), "audio_invalid", id="no sound"),
        pytest.param(lambda path: with_sound(None, b"x" * 999, path, GO), "audio_invalid", id="a text for a sound"),
        pytest.param(lambda path: with_sound(None, tiny("picture")[0], path, GO), "audio_invalid", id="an image"),
        pytest.param(lambda path: with_sound(b"x", tiny("audio")[0], path, GO), "image_invalid", id="no image"),
    ],
)
def test_useless_input(path: pathlib.Path, work: Callable[[pathlib.Path], None], code: str) -> None:
    """What is of no use becomes the reason of a failed task."""
    with pytest.raises(PictureError) as caught:
        work(path)
    assert caught.value.code == code


def test_work_ends_when_the_sandbox_closes(path: pathlib.Path) -> None:
    """Whatever is being made stops when it is told to."""
    render_speech("x" * 1000, 1.0, path, STOP)
    with pytest.raises(Stopped):
        remux(tiny("video")[0], path, STOP)
    with pytest.raises(Stopped):
        with_sound(None, tiny("audio")[0], path, STOP)


def test_painting(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """A painting is a PNG of the size that was asked for, the same for the same text, and no other."""
    paint("a red fox in the snow", (320, 240), path)
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", (320, 240))
        assert len(image.getcolors(10**6) or []) > 100
    again, other = tmp_path / "again", tmp_path / "other"
    paint("a red fox in the snow", (320, 240), again)
    paint("a blue fox in the snow", (320, 240), other)
    assert again.read_bytes() == path.read_bytes() != other.read_bytes()


@pytest.mark.parametrize("text", ["", "\n\t\0", "word" * 500, "你好", "\ud800"])
def test_any_text_can_be_painted(path: pathlib.Path, text: str) -> None:
    """No text is too odd, and no image too small."""
    paint(text, (16, 16), path)
    with Image.open(path) as image:
        image.load()


def test_tiny_results() -> None:
    """The constant results are real media, too."""
    video, audio, picture = (tiny("video"), tiny("audio"), tiny("picture"))
    assert [found[1] for found in (video, audio, picture)] == ["video/mp4", "audio/wav", "image/png"]
    with wave.open(io.BytesIO(audio[0])) as sound:
        assert sound.getnframes() / sound.getframerate() == 0.5
    with Image.open(io.BytesIO(picture[0])) as image:
        image.load()
        assert image.size == (64, 64)
    with av.open(io.BytesIO(video[0]), "r") as container:
        assert container.streams.video
