"""Audio, images and videos of the sandbox are real files that players can open."""

from __future__ import annotations

import array
import io
import threading
import wave
from typing import TYPE_CHECKING, Any

import av
import pytest
from PIL import Image

from a2e_async.sandbox.media.remux import MAX_SECONDS, mouth_openings, remux, render_speech, render_talking_video
from a2e_async.sandbox.media.renderer import tiny_file
from a2e_async.sandbox.media.storage import ImageError
from a2e_async.sandbox.media.video import RenderingStopped, render_image

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

GO = threading.Event()
STOP = threading.Event()
STOP.set()


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    """The path of a new file."""
    return tmp_path / "made"


def codecs(path: pathlib.Path) -> list[tuple[str, str]]:
    """Return the streams of a file: their types and codecs."""
    with av.open(str(path), "r") as container:
        return [(stream.type, stream.codec_context.name) for stream in container.streams]


def seconds(path: pathlib.Path) -> float:
    """Return the length of a file."""
    with av.open(str(path), "r") as container:
        assert container.duration is not None
        return container.duration / av.time_base


def frames(path: pathlib.Path) -> list[Any]:
    """Return the images of a video."""
    with av.open(str(path), "r") as container:
        return [frame.to_image() for frame in container.decode(video=0)]  # type: ignore[no-untyped-call]  # av's


def test_speech_can_be_played(path: pathlib.Path) -> None:
    """Speech is an MP3 as long as its text, at the usual speed or another one."""
    text = "Welcome to a short test of speech that does not make sense. " * 2
    render_speech(text, 1.0, path, GO)
    assert codecs(path) == [("audio", "mp3float")]
    usual = seconds(path)
    assert usual == pytest.approx(len(text) / 14, abs=0.3)
    render_speech(text, 2.0, path, GO)
    assert seconds(path) == pytest.approx(usual / 2, abs=0.3)


def test_speech_is_loud_and_has_gaps(path: pathlib.Path) -> None:
    """There is audio, and silence between the words."""
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


@pytest.mark.parametrize("most", [1.0, pytest.param(MAX_SECONDS, marks=pytest.mark.soak)])
def test_a_long_text_ends(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, most: float) -> None:
    """Speech is never longer than two minutes, here a second."""
    assert MAX_SECONDS == 120
    monkeypatch.setattr("a2e_async.sandbox.media.remux.MAX_SECONDS", most)
    render_speech("x" * 5000, 1.0, path, GO)
    assert seconds(path) == pytest.approx(most, abs=0.1)


def test_talking_video_has_the_audio(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """A talking video has an audio stream of the same length."""
    audio = tmp_path / "audio"
    render_speech("Welcome to a short test.", 1.0, audio, GO)
    render_talking_video(None, audio.read_bytes(), path, GO)
    assert codecs(path) == [("video", "h264"), ("audio", "aac")]
    assert seconds(path) == pytest.approx(seconds(audio), abs=0.2)
    first, *_, last = frames(path)
    assert first.size == (720, 1280)
    assert last.getpixel((360, 1279)) != (0, 0, 0)  # no edge is visible


def test_talking_video_shows_the_image(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The image of the input fills the frames."""
    file = io.BytesIO()
    Image.new("RGB", (301, 199), (200, 30, 30)).save(file, "PNG")
    render_talking_video(file.getvalue(), tiny_file("audio")[0], path, GO)
    red, green, blue = frames(path)[0].getpixel((60, 40))
    assert red > 150
    assert max(green, blue) < 80


def test_mouth_moves_with_the_audio(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """The mouth of the drawn person is open while the audio is loud, and closed while there is silence."""
    audio = tmp_path / "audio.wav"
    with wave.open(str(audio), "wb") as writer:
        writer.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
        loud = [20_000 if sample % 40 < 20 else -20_000 for sample in range(4000)]
        quiet = [sample // 4 for sample in loud]
        writer.writeframes(array.array("h", [*loud, *[0] * 4000, *quiet]).tobytes())
    render_talking_video(None, audio.read_bytes(), path, GO)
    made = frames(path)
    # The mouth is dark, the face is not; the numbers are rows of dark pixels in the middle of each half second.
    dark = [sum(made[number].getpixel((360, y))[1] < 100 for y in range(590, 720)) for number in (6, 18, 30)]
    assert dark[0] > 2 * dark[2] > 4 * dark[1]
    assert dark[1] < 12  # the line of a smile


@pytest.mark.pure
def test_openings_of_the_mouth() -> None:
    """Loudness counts in proportion to the loudest parts; noise below a limit is silence."""
    samples = [0.25, -0.25] * 50 + [0.125, -0.125] * 50 + [0.0001, -0.0001] * 50
    assert mouth_openings(samples, 6) == [7, 7, 4, 4, 0, 0]
    assert mouth_openings([0.001, -0.001] * 50, 2) == [0, 0]
    assert mouth_openings([], 3) == [0, 0, 0]


def test_remux_copies_supported_codecs(path: pathlib.Path) -> None:
    """The packets of a video that an MP4 can contain are unchanged."""
    source = tiny_file("video")[0]
    remux(source, path, GO)
    assert codecs(path)[0] == ("video", "h264")
    with av.open(io.BytesIO(source), "r") as given, av.open(str(path), "r") as made:
        sent, got = ([bytes(packet) for packet in one.demux(video=0)] for one in (given, made))
    assert got == sent


def test_remux_encodes_other_codecs(path: pathlib.Path) -> None:
    """A video with other codecs becomes H.264 and AAC."""
    source = io.BytesIO()
    with av.open(source, "w", format="matroska") as container:
        video = container.add_stream("libvpx", rate=10)
        video.width, video.height, video.pix_fmt = 65, 49, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=44_100)
        audio.layout = "stereo"
        for number in range(10):
            frame = av.VideoFrame(65, 49, "yuv420p")
            frame.pts = number
            container.mux(video.encode(frame))
        silence = av.AudioFrame(format="s16", layout="stereo", samples=44_100)
        for plane in silence.planes:
            plane.update(bytes(plane.buffer_size))
        silence.sample_rate, silence.pts = 44_100, 0
        container.mux(audio.encode(silence))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    remux(source.getvalue(), path, GO)
    assert codecs(path) == [("video", "h264"), ("audio", "aac")]
    assert len(frames(path)) == 10


@pytest.mark.parametrize(
    ("work", "code"),
    [
        pytest.param(lambda path: remux(b"", path, GO), "video_invalid", id="nothing"),
        pytest.param(lambda path: remux(b"no video" * 99, path, GO), "video_invalid", id="a text"),
        pytest.param(lambda path: remux(tiny_file("audio")[0], path, GO), "video_invalid", id="audio"),
        pytest.param(lambda path: render_talking_video(None, b"", path, GO), "audio_invalid", id="no audio"),
        pytest.param(
            lambda path: render_talking_video(None, b"x" * 999, path, GO), "audio_invalid", id="a text as audio"
        ),
        pytest.param(
            lambda path: render_talking_video(None, tiny_file("image")[0], path, GO), "audio_invalid", id="an image"
        ),
        pytest.param(
            lambda path: render_talking_video(b"x", tiny_file("audio")[0], path, GO), "image_invalid", id="no image"
        ),
    ],
)
def test_invalid_input(path: pathlib.Path, work: Callable[[pathlib.Path], None], code: str) -> None:
    """The error has the code of the failed task."""
    with pytest.raises(ImageError) as caught:
        work(path)
    assert caught.value.code == code


def test_rendering_can_be_stopped(path: pathlib.Path) -> None:
    """All functions stop when the event is set."""
    render_speech("x" * 1000, 1.0, path, STOP)
    with pytest.raises(RenderingStopped):
        remux(tiny_file("video")[0], path, STOP)
    with pytest.raises(RenderingStopped):
        render_talking_video(None, tiny_file("audio")[0], path, STOP)


def test_image_of_a_text(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """An image has the requested size, and is the same for the same text only."""
    render_image("a red fox in the snow", (320, 240), path)
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", (320, 240))
        assert len(image.getcolors(10**6) or []) > 100
    again, other = tmp_path / "again", tmp_path / "other"
    render_image("a red fox in the snow", (320, 240), again)
    render_image("a blue fox in the snow", (320, 240), other)
    assert again.read_bytes() == path.read_bytes() != other.read_bytes()


@pytest.mark.parametrize("text", ["", "\n\t\0", "word" * 500, "你好", "\ud800"])
def test_image_of_any_text(path: pathlib.Path, text: str) -> None:
    """Any text and any size of the image are possible."""
    render_image(text, (16, 16), path)
    with Image.open(path) as image:
        image.load()


def test_tiny_results() -> None:
    """The tiny files are valid media."""
    video, audio, image_file = (tiny_file("video"), tiny_file("audio"), tiny_file("image"))
    assert [found[1] for found in (video, audio, image_file)] == ["video/mp4", "audio/wav", "image/png"]
    with wave.open(io.BytesIO(audio[0])) as opened:
        assert opened.getnframes() / opened.getframerate() == 0.5
    with Image.open(io.BytesIO(image_file[0])) as image:
        image.load()
        assert image.size == (64, 64)
    with av.open(io.BytesIO(video[0]), "r") as container:
        assert container.streams.video
