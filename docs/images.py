"""Draw the images of the README and of the pages, all but screenshots: ``python docs/images.py``.

The terminal shows the live display of a real batch, on virtual time. The frames are those of videos that a local A2E
has rendered: nothing here is A2E's work. The drawings are inlined into pages, with the colours of the page, and can be
read on a phone. It needs the extras of ``pip install "a2e-async[demo]"``.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.resources
import io
import os
import pathlib
import re
import runpy
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence

import av
from PIL import Image
from rich.console import Console
from rich.terminal_theme import TerminalTheme

from a2e_async import A2EClient, Config, PollPolicy
from a2e_async.batch import Job
from a2e_async.cli.batch.display import BatchDisplay
from a2e_async.sandbox import Sandbox
from a2e_async.testing import virtual_time

DOCS = pathlib.Path(__file__).resolve().parent
FOLDER = DOCS / "images"
MAX_SIZE = 80_000  # bytes of a file

COLUMNS, LINES = 78, 20
NAMES = "ada", "grace", "hedy", "joan", "katherine", "lise", "margaret", "mary", "radia", "rosalind", "sophie", "vera"
THEME = TerminalTheme(
    (24, 26, 33), (222, 226, 235),
    [(24, 26, 33), (240, 113, 120), (125, 214, 142), (240, 200, 110), (110, 170, 250), (205, 150, 245), (95, 210, 220),
     (222, 226, 235)],
    [(120, 126, 140), (255, 140, 140), (150, 235, 165), (250, 215, 130), (140, 190, 255), (220, 175, 255),
     (130, 225, 235), (255, 255, 255)],
)  # fmt: skip

FRAME_HEIGHT, GAP = 240, 8

WIDTH = 360  # of a drawing, as wide as a phone
STYLE = """
    .NAME { width: 100%; max-width: 460px; font: 14px system-ui, sans-serif; }
    .NAME text { fill: var(--color-foreground-primary, #000); text-anchor: middle; }
    .NAME .word { font-family: ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; }
    .NAME .note { fill: var(--color-foreground-secondary, #5a5c63); font-size: 13px; }
    .NAME .left { text-anchor: start; }
    .NAME .right { text-anchor: end; }
    .NAME .bad { fill: var(--color-problematic, #b30000); }
    .NAME rect { fill: var(--color-background-secondary, #f8f9fb); stroke: var(--color-foreground-border, #878787); }
    .NAME .end { fill: var(--color-highlight-on-target, #ffc); }
    .NAME path { stroke: var(--color-foreground-muted, #6b6f76); fill: none; }
    .NAME .arrow { marker-end: url(#NAME-tip); }
    .NAME .life { stroke-dasharray: 3 4; }
    .NAME .lost { stroke: var(--color-problematic, #b30000); stroke-width: 2; }
    .NAME marker path { fill: var(--color-foreground-muted, #6b6f76); stroke: none; }
"""
TIP = (
    '<defs><marker id="NAME-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0l8 4l-8 4z"/></marker></defs>'
)


async def run_batch(console: Console, folder: pathlib.Path, *, until: int) -> None:
    """Run a batch up to a number of results, and print what its live display shows then."""
    images = importlib.resources.files("a2e_async.cli.commands").joinpath("images")
    image = images.joinpath("balloon.jpg").read_bytes()
    names = [f"{name}-{number}.jpg" for number in range(1, 6) for name in NAMES]
    jobs = []
    for number, name in enumerate(names):
        (folder / name).write_bytes(image)
        prompt = "she smiles #fail" if number == 7 else "she smiles"
        jobs.append(Job(key=name, image=folder / name, prompt=prompt, negative_prompt="blurry"))
    async with (
        Sandbox(render="tiny", coins=10_000) as sandbox,
        A2EClient(sandbox.token, base_url=sandbox.url) as a2e,
        a2e.image_to_video.batch(
            jobs, journal=folder / "jobs.sqlite", out=folder / "videos", max_coins=2400, max_running=12
        ) as batch,
    ):
        display = BatchDisplay(console, "portraits/", len(jobs), 2400, as_json=False)
        display.view(batch.progress)  # the rate counts from here
        async for result in batch:
            display.add(result, batch.progress)
            if batch.progress.done >= until:
                await asyncio.sleep(2)
                console.print(display.view(batch.progress))
                return


def terminal(target: pathlib.Path) -> None:
    """Draw the live display of ``a2e batch run``."""
    console = Console(
        file=io.StringIO(), record=True, width=COLUMNS, height=LINES, force_terminal=True, color_system="truecolor",
        highlight=False, markup=False, emoji=False,
    )  # fmt: skip
    console.print("[bold green]$[/] a2e batch run portraits/ --prompt 'she smiles' --max-coins 2400\n", markup=True)
    with tempfile.TemporaryDirectory() as folder, virtual_time():
        asyncio.run(run_batch(console, pathlib.Path(folder), until=31))
    svg = console.export_svg(title="a2e batch run", theme=THEME, unique_id="a2e")
    # An image may not load fonts: the text has its own length, so any monospaced font fits.
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    target.write_text(svg.replace("Fira Code", "ui-monospace,SFMono-Regular,Menlo,Consolas"), encoding="utf-8")


def drawing(name: str, title: str, height: int, *parts: str) -> str:
    """Return a drawing as SVG, whose colours are those of the page."""
    head = (
        f'<svg class="{name}" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-labelledby="{name}-title">\n  <title id="{name}-title">{title}</title>\n  '
        f"<style>{STYLE}  </style>\n  {TIP}"
    ).replace("NAME", name)
    return "\n  ".join([head, *parts]) + "\n</svg>\n"


def text(x: int, y: int, words: str, kind: str = "") -> str:
    """Return a line of text."""
    return f'<text class="{kind}" x="{x}" y="{y}">{words}</text>'


def box(x: int, y: int, width: int, words: str, note: str = "", *, kind: str = "") -> str:
    """Return a box with a word of the package, and a line below it."""
    middle, height = x + width // 2, 48 if note else 32
    lines = [f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="5"/>']
    lines.append(text(middle, y + 21, words, "word"))
    return "".join([*lines, text(middle, y + 39, note, "note") if note else ""])


def arrow(x: int, y: int, to_x: int, to_y: int) -> str:
    """Return an arrow."""
    return f'<path class="arrow" d="M{x} {y}L{to_x} {to_y}"/>'


def states() -> str:
    """Draw the states of a task, with A2E's words for image to video."""
    return drawing(
        "states",
        "A start that A2E accepts is charged and gives a task: queued, then running, then succeeded or failed.",
        418,
        box(105, 10, 150, "start()"),
        arrow(180, 42, 180, 84), text(190, 68, "accepted: charged", "note left"),
        box(75, 86, 210, "QUEUED", "initialized, sent"),
        arrow(180, 134, 180, 176), text(190, 160, "A2E begins", "note left"),
        box(75, 178, 210, "RUNNING", "pending, processing"),
        arrow(120, 226, 90, 268), arrow(240, 226, 270, 268),
        box(15, 270, 150, "SUCCEEDED", "completed", kind="end"),
        box(195, 270, 150, "FAILED", "failed", kind="end"),
        arrow(90, 318, 90, 356), text(90, 374, "download()", "word"), text(90, 392, "a file", "note"),
        arrow(270, 318, 270, 356), text(270, 374, "TaskFailedError", "word"),
        text(270, 392, "with A2E's reason", "note"),
    )  # fmt: skip


def lost_answer() -> str:
    """Draw a start whose answer gets lost."""
    us, a2e = 46, 314
    return drawing(
        "lost-answer",
        "The answer to a start gets lost. It is not sent again: the marker finds the task in A2E's list.",
        486,
        box(us - 45, 8, 90, "a2e_async"), box(a2e - 45, 8, 90, "A2E"),
        f'<path class="life" d="M{us} 40V478M{a2e} 40V478"/>',
        text(180, 66, "start, named", "note"), text(180, 83, "Ada [a2e:7f3k2m9q4d]", "word"),
        arrow(us, 92, a2e - 2, 92),
        text(a2e - 10, 118, "creates the task,", "note right"), text(a2e - 10, 135, "charges 30 coins", "note right"),
        f'<path d="M{a2e} 158H150"/><path class="lost" d="M138 150l16 16m0 -16l-16 16"/>',
        text(us + 10, 190, "answer lost: unknown outcome", "bad left"),
        text(us + 10, 208, "The start is not sent again.", "note left"),
        text(180, 244, "list of tasks?", "note"), arrow(us, 252, a2e - 2, 252),
        arrow(a2e, 292, us + 2, 292), text(180, 284, "… [a2e:7f3k2m9q4d] …", "word"),
        text(us + 10, 322, "the marker: the task is adopted", "left"),
        text(us + 10, 340, "start() returns its handle.", "note left"),
        text(180, 376, "status?", "note"), arrow(us, 384, a2e - 2, 384),
        arrow(a2e, 424, us + 2, 424), text(180, 416, "completed", "word"),
        text(us + 10, 456, "one task, one charge, one video", "left"),
    )  # fmt: skip


def frames(video: pathlib.Path, parts: Sequence[float]) -> Iterator[Image.Image]:
    """Yield frames of a video, at parts of its length."""
    with av.open(video) as container:
        images = [
            frame.to_image()  # type: ignore[no-untyped-call]
            for frame in container.decode(video=0)
        ]
    for part in parts:
        yield images[round(part * (len(images) - 1))]


def strip(images: Sequence[Image.Image], target: pathlib.Path) -> None:
    """Write images side by side, of one height."""
    small = [each.resize((round(each.width * FRAME_HEIGHT / each.height), FRAME_HEIGHT)) for each in images]
    sheet = Image.new("RGBA", (sum(each.width for each in small) + GAP * (len(small) - 1), FRAME_HEIGHT))
    left = 0
    for each in small:
        sheet.paste(each, (left, 0))
        left += each.width + GAP
    sheet.save(target, quality=72, method=6)


@contextlib.asynccontextmanager
async def local_a2e() -> AsyncIterator[A2EClient]:
    """Run a local A2E that renders, and a client of it."""
    config = Config(poll=PollPolicy(initial=0.2, steps=((0.0, 0.25),)), proxy="")
    async with Sandbox(speed=20) as sandbox, A2EClient(sandbox.token, base_url=sandbox.url, config=config) as a2e:
        os.environ.update(A2E_BASE_URL=sandbox.url, A2E_API_TOKEN=sandbox.token)
        yield a2e


async def draw_videos(target: pathlib.Path) -> None:
    """Draw frames of videos. Dubbed videos and such are left out: a local A2E gives their source back."""
    image = importlib.resources.files("a2e_async.cli.commands").joinpath("images", "lighthouse.jpg").read_bytes()
    async with local_a2e() as a2e:
        task = await a2e.image_to_video.start(image=image, prompt="slow zoom in", negative_prompt="blurry")
        await task.wait_until_done(timeout=600)
        strip([*frames(await task.download("lighthouse.mp4"), (0, 0.5, 1))], target / "lighthouse.webp")
        example = runpy.run_path(str(DOCS / "examples" / "speaking_avatar.py"))
        await example["main"]("Welcome! I am glad that you are here.")
        strip([*frames(pathlib.Path("welcome.mp4"), (0, 0.2, 0.4, 0.6, 0.8))], target / "speaking-avatar.webp")


def main(target: pathlib.Path = FOLDER) -> str | None:
    """Draw all images, and return an error if one is too large."""
    target = target.resolve()
    target.mkdir(exist_ok=True)
    terminal(target / "terminal.svg")
    for name, draw in (("states", states), ("lost-answer", lost_answer)):
        (target / f"{name}.svg").write_text(draw(), encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        asyncio.run(draw_videos(target))
    large = [path.name for path in target.iterdir() if path.stat().st_size > MAX_SIZE]
    return f"larger than {MAX_SIZE} bytes: {', '.join(large)}" if large else None


if __name__ == "__main__":
    sys.exit(main(*map(pathlib.Path, sys.argv[1:2])))
