"""Measures the style of a package: ``python tests/architecture/style_table.py [FOLDER ...]`` prints one row for each.

Folders of other packages can be given beside ours, so that the same rule measures all of them.
"""

from __future__ import annotations

import ast
import io
import pathlib
import re
import statistics
import sys
import tokenize
from collections.abc import Iterator

import attrs

ROOT = pathlib.Path(__file__).parents[2]

# The local A2E is a program of its own, and a pytest plugin is no part of the SDK.
APART = {"sandbox", "testing", "test", "tests"}

_DIRECTIVE = re.compile(r"#\s*(noqa|type:|pragma|pyright)")
_PRONOUN = re.compile(r"\b(who|nobody|somebody)\b", re.IGNORECASE)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@attrs.define(kw_only=True)
class Style:
    """Figures of one package.

    Attributes:
        files: Python files.
        lines: Lines of them, blank ones included.
        header_lines: Module docstring, imports and `__all__`, with the blank lines down to the last of them.
        code_lines: Lines that hold code, docstrings apart.
        comments: Comments that speak to a reader; directives for tools do not count.
        pronouns: Lines with "who", "nobody" or "somebody".
        functions: Length of each function in lines, without its docstring and blank lines.
    """

    files: int = 0
    lines: int = 0
    header_lines: int = 0
    code_lines: int = 0
    comments: int = 0
    pronouns: int = 0
    functions: list[int] = attrs.field(factory=list)

    @property
    def header_share(self) -> float:
        """Return the header lines in per cent of all lines."""
        return 100 * self.header_lines / self.lines

    @property
    def comment_density(self) -> float:
        """Return the comments per 100 lines of code."""
        return 100 * self.comments / self.code_lines

    @classmethod
    def of(cls, package: pathlib.Path) -> Style:
        """Measure all files of a package, the parts in `APART` excepted."""
        style = cls()
        for path in sorted(package.rglob("*.py")):
            if not APART & set(path.relative_to(package).parts):
                style.add(path.read_text("utf-8"))
        return style

    def add(self, text: str) -> None:
        """Count one file."""
        module = ast.parse(text)
        lines = text.splitlines()
        blank = {number for number, line in enumerate(lines, 1) if not line.strip()}
        docstrings = {number for node in ast.walk(module) for number in _docstring(node)}
        header = {number for node in _header(module) for number in range(node.lineno, (node.end_lineno or 0) + 1)}
        self.files += 1
        self.lines += len(lines)
        self.header_lines += len(header | {number for number in blank if number < max(header, default=0)})
        self.pronouns += sum(bool(_PRONOUN.search(line)) for line in lines)
        for node in ast.walk(module):
            if isinstance(node, _FUNCTIONS):
                body = set(range(node.lineno, (node.end_lineno or 0) + 1))
                self.functions.append(len(body - blank - set(_docstring(node))))
        code: set[int] = set()
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                self.comments += not _DIRECTIVE.match(token.string)
            elif token.string.strip():
                code |= set(range(token.start[0], token.end[0] + 1))
        self.code_lines += len(code - docstrings)


def _docstring(node: ast.AST) -> range:
    """Return the line numbers of the docstring of a module, class or function."""
    body = getattr(node, "body", None)
    first = body[0] if isinstance(body, list) and body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return range(first.lineno, (first.end_lineno or 0) + 1)
    return range(0)


def _header(module: ast.Module) -> Iterator[ast.stmt]:
    """Yield the statements of a module that are no code of its own."""
    for number, node in enumerate(module.body):
        is_docstring = number == 0 and bool(_docstring(module))
        is_import = isinstance(node, (ast.Import, ast.ImportFrom)) or (
            isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        )
        if is_docstring or is_import or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"):
            yield node


def main(folders: list[str]) -> None:
    """Print a row for each folder; for the package of this repository if none is given."""
    print("| package | files | lines | function, mean / median | headers | comments per 100 | pronouns |")
    print("|---|---|---|---|---|---|---|")
    for folder in map(pathlib.Path, folders or [str(ROOT / "a2e_async")]):
        style = Style.of(folder)
        mean, median = statistics.mean(style.functions), statistics.median(style.functions)
        print(
            f"| {folder.name} | {style.files} | {style.lines} | {mean:.1f} / {median:g} | {style.header_share:.1f} % "
            f"| {style.comment_density:.1f} | {style.pronouns} |"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
