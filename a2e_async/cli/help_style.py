"""Style of the examples in the help of a command: two columns from the left, and never broken."""

import contextlib
from collections.abc import Iterator, Sequence

_HELP = frozenset({"--help", "-h"})


@contextlib.contextmanager
def example_style(words: Sequence[str]) -> Iterator[None]:
    """Change how rich shows a block of code until the end of the block, if the words of a command ask for its help."""
    if _HELP.isdisjoint(words):
        yield
        return
    from rich.console import Console, ConsoleOptions, RenderResult  # noqa: PLC0415  slow, and for a help only
    from rich.markdown import CodeBlock, Markdown  # noqa: PLC0415  likewise
    from rich.padding import Padding  # noqa: PLC0415  likewise
    from rich.text import Text  # noqa: PLC0415  likewise

    class Example(CodeBlock):
        """Block of examples. That of rich is filled up with blanks, and breaks commands."""

        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            """Draw the lines as they are."""
            lines = Text(str(self.text).rstrip(), "cyan", no_wrap=True, overflow="ignore")
            yield Padding(lines, (0, 0, 0, 2), expand=False)

    usual = Markdown.elements["code_block"]
    Markdown.elements["code_block"] = Example
    try:
        yield
    finally:
        Markdown.elements["code_block"] = usual
