"""All checks. `nox` runs those that a change must pass; `nox -s NAME` runs one of them."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import sys
import zipfile

import nox

PYTHONS = ["3.11", "3.12", "3.13"]
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
if RUNNING not in PYTHONS:
    PYTHONS.append(RUNNING)  # for a machine that has only a newer Python

IN_CI = bool(os.environ.get("CI"))
PROJECT = nox.project.load_toml("pyproject.toml")
BENCHMARKS = pathlib.Path("tests/benchmarks")
CONTRACTS = PROJECT["tool"]["importlinter"]["contracts"]
(_pure,) = (contract["source_modules"] for contract in CONTRACTS if contract["name"].startswith("Pure modules"))
PURE = [f"*/{name.replace('.', '/')}{end}" for name in _pure for end in (".py", "/*")]
PROCESSES = 3 * (os.cpu_count() or 2) // 2  # a third of the tests' time is waiting for programs, ports and PostgreSQL
PARALLEL = ["-n", str(PROCESSES), "--dist", "loadfile", "--no-loadscope-reorder"]  # each takes one file at a time

_CORE = ("batch", "client", "files", "integrations", "polling", "safety", "submission", "testing", "transport")
CORE = [f"tests/{name}" for name in _CORE]
"""The tests of what runs in an event loop of the user."""
WITHOUT_WEB = ["--ignore=tests/examples", "-m", "not soak and not browser"]
"""The tests without their slowest parts, which need one Python only and have the sessions `examples` and `browser`."""
WITH_TESTS = not {"tests", f"tests-{RUNNING}"}.isdisjoint(sys.argv)  # those sessions then share its environment
RUNNING_TESTS = pathlib.Path(f".nox/tests-{RUNNING.replace('.', '-')}")

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "typing", "architecture", "tests", "debug", "coverage", "docs", "package"]
nox.options.error_on_missing_interpreters = IN_CI  # locally a missing Python is skipped with a warning
nox.options.stop_on_first_error = False


def groups(*names: str) -> list[str]:
    """Return the requirements of dependency groups of pyproject.toml."""
    return [requirement for name in names for requirement in nox.project.dependency_groups(PROJECT, name)]


def install_wheel(session: nox.Session, *group_names: str) -> None:
    """Build the wheel and install it with all extras, so that the tests never use the checkout."""
    folder = pathlib.Path(session.create_tmp()) / "wheel"
    for old in folder.glob("*.whl"):
        old.unlink()
    session.run("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), ".")
    (wheel,) = folder.glob("*.whl")
    session.install("--quiet", f"{wheel}[all]", *groups(*group_names))
    session.install("--quiet", "--force-reinstall", "--no-deps", str(wheel))
    session.env["PYTHONSAFEPATH"] = "1"
    session.run("python", "-c", "import a2e_async as a; assert 'site-packages' in a.__file__, a.__file__")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting, and words that the project has retired."""
    session.install("--quiet", *groups("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("python", "tests/architecture/retired_words.py")


@nox.session
def typing(session: nox.Session) -> None:
    """Check the types of everything with mypy, and of typical user code with pyright as well."""
    install_wheel(session, "typing")
    session.install("--quiet", "nox")
    session.run("mypy", "a2e_async", "tests", "docs/examples", "noxfile.py")
    session.run("pyright")


@nox.session
def architecture(session: nox.Session) -> None:
    """Check the rules for imports, names and words."""
    install_wheel(session, "tests")
    session.run("pytest", "tests/architecture", *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run all tests, with the README and the pages, on the built wheel.

    The examples, the browser, and the workers on PostgreSQL are run on the Python of nox only. A Python between the
    oldest, the newest and that one runs the core.
    """
    install_wheel(session, "tests")
    has_own_sessions = not {"examples", "browser"}.isdisjoint(sys.argv)
    without = [*WITHOUT_WEB] if has_own_sessions or session.python != RUNNING else []
    if session.python != RUNNING:
        without.append("--ignore=tests/cluster")
    part = [] if session.python in {PYTHONS[0], PYTHONS[-1], RUNNING} else CORE
    session.run("pytest", *PARALLEL, *(["-v"] if IN_CI else []), *without, *part, *session.posargs)


@nox.session(python=PYTHONS[-1])
def debug(session: nox.Session) -> None:
    """Run the core in the debug modes of Python and of asyncio."""
    install_wheel(session, "tests")
    session.env.update({"PYTHONDEVMODE": "1", "PYTHONASYNCIODEBUG": "1"})
    session.run("pytest", *PARALLEL, *CORE, *session.posargs)


@nox.session(python=False if WITH_TESTS else None)
def examples(session: nox.Session) -> None:
    """Run the example applications, each under a real server."""
    run_part(session, "-n", str(PROCESSES), "tests/examples")  # a test at a time: the slow ones are in one file


@nox.session(python=False if WITH_TESTS else None)
def browser(session: nox.Session) -> None:
    """Use the page of the example `fastapi_app` in Chromium; without it these tests are skipped."""
    run_part(session, *PARALLEL, "-m", "browser", "-rs", "tests/browser")


def run_part(session: nox.Session, *arguments: str) -> None:
    """Run a part of the tests. With `tests`, in the environment of that, since an installation takes longer."""
    python = str(RUNNING_TESTS.resolve() / ("Scripts" if os.name == "nt" else "bin") / "python")
    if WITH_TESTS:
        session.env["PYTHONSAFEPATH"] = "1"
    else:
        python = "python"
        install_wheel(session, "tests")
    arguments += ("-v",) if IN_CI else ()
    session.run(python, "-m", "pytest", *arguments, *session.posargs, external=WITH_TESTS)


@nox.session(python=PYTHONS[-1])  # tracing on 3.11 loses `except CancelledError` blocks
def coverage(session: nox.Session) -> None:
    """Measure the branches that the tests reach: 95 % of everything, 100 % of the pure modules."""
    install_wheel(session, "coverage")
    session.env["COVERAGE_FILE"] = str(pathlib.Path(session.create_tmp()).resolve() / "coverage")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", "-q", *PARALLEL, *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", "--fail-under=95")
    session.run("coverage", "report", f"--include={','.join(PURE)}", "--fail-under=100")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    install_wheel(session, "docs")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")


@nox.session
def package(session: nox.Session) -> None:
    """Build the published files, check their content, and use them without any extra."""
    session.install("--quiet", *groups("package"))
    folder = pathlib.Path(session.create_tmp()).resolve()
    for old in (folder / "dist").glob("*"):
        old.unlink()
    session.run("python", "-m", "build", "--outdir", str(folder / "dist"), silent=True)
    built = [str(path) for path in (folder / "dist").iterdir()]
    wheel = next(path for path in built if path.endswith(".whl"))
    session.run("twine", "check", "--strict", *built)
    session.run("check-wheel-contents", wheel)
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        description = archive.read(metadata).decode()
    if broken := re.findall(r"\]\((?!https://)[^)]*\)|<!--", description):
        session.error(f"a package index cannot show {broken}")
    session.run("python", "-m", "venv", "--clear", str(folder / "bare"))
    bare = folder / "bare" / ("Scripts" if os.name == "nt" else "bin")
    session.run(str(bare / "pip"), "install", "--quiet", wheel, external=True)
    session.run(str(bare / "python"), "-W", "error", "-c", "import a2e_async, a2e_async.sandbox", external=True)
    output = session.run(str(bare / "a2e"), "demo", external=True, silent=True, success_codes=[2])
    if 'pip install "a2e-async[cli]"' not in str(output):
        session.error(f"without extras, `a2e` must print the install command, not: {output}")


@nox.session
def soak(session: nox.Session) -> None:
    """Run the long tests: all seeds, all kills, more examples, and the suite in 20 random orders."""
    install_wheel(session, "tests")
    session.run("pytest", *PARALLEL, "-m", "soak", "--timeout", "1800", *session.posargs)
    session.run("pytest", *PARALLEL, "-m", "pure", "--hypothesis-profile", "deep", "--timeout", "1800")
    for seed in range(20):
        session.run("pytest", *PARALLEL, "-q", "--shuffle", str(seed))


@nox.session
def mutants(session: nox.Session) -> None:
    """Change the code that decides about coins and waits, one place at a time, and count the undetected changes."""
    install_wheel(session, "tests", "mutants")
    session.run("python", "tests/mutants/run.py", "--json", f"{session.create_tmp()}/mutants.json", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks: `nox -s bench -- overhead` runs one of them, without a name all of them.

    At the end all rows are in one table and in one JSON file, with a description of the machine.
    """
    names = session.posargs or sorted(path.stem for path in BENCHMARKS.glob("[!_]*.py"))
    install_wheel(session, *(["tests"] if "web" in names else []))  # uvicorn
    session.install("--quiet", *PROJECT["project"]["optional-dependencies"]["cluster-demo"][1:])  # PostgreSQL
    if "loops" in names:
        session.install("--quiet", "uvloop")
    results, failed = pathlib.Path(session.create_tmp()).resolve() / "results", []
    shutil.rmtree(results, ignore_errors=True)
    session.env["A2E_BENCH_RESULTS"] = str(results)
    for name in names:
        try:
            session.run("python", str(BENCHMARKS / f"{name}.py"))
        except nox.command.CommandFailed:
            failed.append(name)
    if results.exists():
        session.run("python", str(BENCHMARKS / "_report.py"), str(results), success_codes=[0, 1])
        session.log(f"table.md and all.json are in {results}")
    if failed:
        session.error(f"over a bound, or failed: {', '.join(failed)}")
