"""Mutation testing of the code that decides about coins and waits.

How it works:

1. `targets.toml` lists the modules by group, and for each module the test files that must detect a change in it.
2. The operators of cosmic-ray define the possible changes of a module. Each position gets at most one mutant.
3. A sample of each group is drawn, by the seed and the text of the changed line. So a later run draws the same mutants
   again, unless these lines have changed.
4. All tests of the table must pass with the unchanged package first.
5. Each mutant is written into a copy of the installed package, never into the checkout, and its tests use the copy.
6. A mutant that no test detects survives. Score = killed / (killed + survived).

Run it with ``nox -s mutants``; ``nox -s mutants -- --help`` shows the options.
"""

from __future__ import annotations

import argparse
import ast
import collections
import compileall
import difflib
import hashlib
import importlib.util
import itertools
import json
import math
import os
import pathlib
import py_compile
import re
import shlex
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from typing import TYPE_CHECKING, Any

import attrs
import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.testing import run_tests
from cosmic_ray.work_item import TestOutcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

PACKAGE = "a2e_async"
HERE = pathlib.Path(__file__).resolve().parent


@attrs.frozen
class Mutant:
    """One change at one position of one module."""

    group: str
    module: str
    line: int
    operator: str
    before: str
    after: str
    source: str  # the full text of the changed module


@attrs.frozen
class Result:
    """Result of the tests with a mutant."""

    mutant: Mutant
    outcome: str  # killed, timed out (counts as killed) or survived
    detected_by: str
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return the entry of the report."""
        fields = attrs.asdict(self.mutant, filter=lambda field, _: field.name != "source")
        return {**fields, "outcome": self.outcome, "detected_by": self.detected_by, "seconds": round(self.seconds, 1)}


@attrs.frozen
class Candidate:
    """Possible change by an operator: its `occurrence`-th in the module."""

    rank: str
    module: str
    position: tuple[int, int]
    operator: str
    occurrence: int

    @property
    def place(self) -> tuple[str, tuple[int, int], str]:
        """The position and the category of the operator: each pair gets at most one mutant."""
        return self.module, self.position, self.operator.partition("_")[0]


def candidates(module: str, source: str, seed: int, skip: Sequence[str]) -> Iterator[Candidate]:
    """Yield all possible changes of a module."""
    # The rank depends on the text of the line and not on its number, so that changes of other lines do not alter it.
    nodes = list(ast_nodes(get_ast(source)))
    lines = source.splitlines()
    for name in sorted(cosmic_ray.plugins.operator_names()):
        operator_class = cosmic_ray.plugins.get_operator(name)
        if operator_class.arguments() or any(re.search(pattern, name) for pattern in skip):
            continue
        operator = operator_class()
        positions = [start for node in nodes for start, _ in operator.mutation_positions(node)]
        same: collections.Counter[str] = collections.Counter()
        for occurrence, position in enumerate(positions):
            text = lines[position[0] - 1].strip()
            key = f"{seed} {module} {name} {same[text]} {text}"
            same[text] += 1
            yield Candidate(hashlib.sha256(key.encode()).hexdigest(), module, position, name, occurrence)


def meaning(source: str) -> str:
    """Return the syntax tree of a module without annotations and kinds of parameters, which decide nothing."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(value=None)
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arguments):
            node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
            node.defaults = [*node.defaults, *filter(None, node.kw_defaults)]
            node.posonlyargs, node.kwonlyargs, node.kw_defaults = [], [], []
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.test = ast.Constant(value=False)
    return ast.dump(tree)


def changed_lines(old: str, new: str) -> tuple[str, str]:
    """Return the lines that differ, before and after the change."""
    diff = [line for line in difflib.ndiff(old.splitlines(), new.splitlines()) if line.startswith(("- ", "+ "))]
    before, after = ([line[2:].strip() for line in diff if line.startswith(sign)] for sign in "-+")
    return " ".join(before), " ".join(after)


def draw(group: str, sources: dict[str, str], settings: dict[str, Any]) -> list[Mutant]:
    """Draw the mutants of a group: the first ones by rank, without those that change only an annotation."""
    skip = settings["skip"]
    ranked = sorted(
        (each for module, source in sources.items() for each in candidates(module, source, settings["seed"], skip)),
        key=lambda candidate: candidate.rank,
    )
    meanings = {module: meaning(source) for module, source in sources.items()}
    drawn: list[Mutant] = []
    used: set[object] = set()
    for candidate in ranked:
        if len(drawn) == settings["sample"]:
            break
        if candidate.place in used:
            continue
        old = sources[candidate.module]
        new = mutate_code(old, cosmic_ray.plugins.get_operator(candidate.operator)(), candidate.occurrence)
        try:
            if meaning(new) == meanings[candidate.module]:
                continue
        except SyntaxError:
            continue
        used.add(candidate.place)
        operator = candidate.operator.rpartition("/")[2]
        drawn.append(
            Mutant(group, candidate.module, candidate.position[0], operator, *changed_lines(old, new), source=new)
        )
    return drawn


def pytest(tests: Iterable[str], settings: dict[str, Any], *options: str, timeout: float | None) -> tuple[str, str]:
    """Run test files and return `killed`, `timed out` or `survived`, and the output of pytest."""
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "--assert=plain", "-rfE", "-p", "no:cacheprovider"]
    # timeout_method: an exception in a callback of an event loop does not end its test, only the end of the process does
    command += ["-o", f"timeout={settings['test_timeout']}", "-o", "timeout_method=thread", *options, *tests]
    outcome, output = run_tests(shlex.join(command), timeout)
    if outcome == TestOutcome.INCOMPETENT:
        raise RuntimeError(output)
    if output == "timeout":
        return "timed out", output
    return ("survived" if outcome == TestOutcome.SURVIVED else "killed"), output


def try_mutant(mutant: Mutant, package: pathlib.Path, tests: Iterable[str], settings: dict[str, Any]) -> Result:
    """Run the tests of a module on a mutant of it, up to the first failure."""
    path = package / mutant.module
    original = path.read_text(encoding="utf-8")
    started = time.monotonic()
    path.write_text(mutant.source, encoding="utf-8")
    try:
        outcome, output = pytest(tests, settings, "-x", timeout=settings["timeout"])
    finally:
        path.write_text(original, encoding="utf-8")
    detected = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", output, re.MULTILINE)
    return Result(mutant, outcome, detected[1] if detected else outcome, time.monotonic() - started)


def copy_package(folder: pathlib.Path) -> pathlib.Path:
    """Copy the installed package and let all later processes import the copy."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        sys.exit(f"{PACKAGE} is not installed")
    copy = folder / PACKAGE
    shutil.copytree(pathlib.Path(spec.origin).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    # Checked by hash, not by time, so that a mutant that is written within the same second is compiled again.
    compileall.compile_dir(copy, quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
    os.environ.update(PYTHONPATH=str(folder), PYTHONSAFEPATH="1")
    return copy


def summary(results: Sequence[Result]) -> dict[str, float]:
    """Return the numbers of mutants by outcome, and the score in percent."""
    counts = collections.Counter(result.outcome for result in results)
    killed = counts["killed"] + counts["timed out"]
    score = round(100 * killed / len(results), 1) if results else 0.0
    return {"killed": killed, "timed_out": counts["timed out"], "survived": counts["survived"], "score": score}


def report(results: Sequence[Result], settings: dict[str, Any]) -> dict[str, Any]:
    """Return the report."""
    groups = dict.fromkeys(result.mutant.group for result in results)
    return {
        "settings": settings,
        "groups": {name: summary([each for each in results if each.mutant.group == name]) for name in groups},
        "all": summary(results),
        "mutants": [result.as_json() for result in results],
    }


def show(numbers: dict[str, Any]) -> None:
    """Print the survivors and the table of scores."""
    for mutant in numbers["mutants"]:
        if mutant["outcome"] == "survived":
            print(f"\nsurvived: {mutant['module']}:{mutant['line']} {mutant['operator']}")
            print(f"  - {mutant['before']}\n  + {mutant['after']}")
    print(f"\n{'group':12} {'killed':>8} {'of these by time-out':>22} {'survived':>9} {'score':>8}")
    for name, row in {**numbers["groups"], "all": numbers["all"]}.items():
        print(f"{name:12} {row['killed']:8} {row['timed_out']:22} {row['survived']:9} {row['score']:6} %")


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--targets", type=pathlib.Path, default=HERE / "targets.toml", help="the table to use")
    parser.add_argument("--root", type=pathlib.Path, default=HERE.parents[1], help="the checkout whose tests run")
    parser.add_argument(
        "--json", type=pathlib.Path, default=pathlib.Path("mutants.json"), help="the file of the report"
    )
    parser.add_argument("--group", action="append", help="only this group; can be given several times")
    parser.add_argument("--sample", type=int, help="mutants of each group")
    parser.add_argument("--seed", type=int, help="another seed draws other mutants")
    parser.add_argument("--timeout", type=float, help="seconds for all tests of one mutant")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this time; the groups take turns")
    parser.add_argument("--deselect", action="append", default=[], help="a test to skip, as for pytest")
    parser.add_argument("--unchecked", action="store_true", help="do not run the tests on the unchanged package first")
    parser.add_argument("--list", action="store_true", help="show the mutants and run nothing")
    return parser.parse_args()


def main() -> None:
    """Draw the mutants, run the tests on each of them and report."""
    given = options()
    # A background job of a shell ignores SIGINT, and so would the programs that tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    table = tomllib.loads(given.targets.read_text(encoding="utf-8"))
    settings = {**table["settings"], **{k: v for k in ("sample", "seed", "timeout") if (v := getattr(given, k))}}
    groups = {name: modules for name, modules in table["groups"].items() if not given.group or name in given.group}
    destination, stop_at = given.json.resolve(), time.monotonic() + 60.0 * given.minutes
    os.chdir(given.root)
    wanted = list(dict.fromkeys(test for modules in groups.values() for tests in modules.values() for test in tests))
    if missing := [test for test in wanted if not pathlib.Path(test).exists()]:
        sys.exit(f"{given.targets}: test files not found: {', '.join(missing)}")

    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        package = copy_package(pathlib.Path(folder))
        samples = [
            draw(name, {module: (package / module).read_text(encoding="utf-8") for module in modules}, settings)
            for name, modules in groups.items()
        ]
        drawn = list(filter(None, itertools.chain.from_iterable(itertools.zip_longest(*samples))))
        if given.list:
            for mutant in drawn:
                print(f"{mutant.module}:{mutant.line} {mutant.operator}\n  - {mutant.before}\n  + {mutant.after}")
            return

        left_out = [f"--deselect={test}" for test in given.deselect]
        if not given.unchecked:
            outcome, output = pytest(wanted, settings, *left_out, timeout=None)
            if outcome != "survived":
                sys.exit(f"the tests fail without any mutant:\n{output}")
            print(f"without any mutant: {output.strip().splitlines()[-1]}", flush=True)

        results: list[Result] = []
        for mutant in drawn:
            if time.monotonic() > stop_at:
                break
            tests = [*left_out, *groups[mutant.group][mutant.module]]
            results.append(result := try_mutant(mutant, package, tests, settings))
            place = f"{mutant.module}:{mutant.line} {mutant.operator}"
            print(f"{len(results):4}/{len(drawn)} {result.outcome:9} {result.seconds:5.0f} s  {place}", flush=True)
            destination.write_text(json.dumps(report(results, settings), indent=1) + "\n", encoding="utf-8")
    show(report(results, settings))
    print(f"\nwritten: {destination}")


if __name__ == "__main__":
    main()
