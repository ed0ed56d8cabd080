"""All checks. `nox` runs those that a change must pass; `nox -s NAME` runs one of them."""

from __future__ import annotations

import os
import pathlib
import sys

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
PARALLEL = [
    "-n",
    "logical",
    "--dist",
    "loadfile",
    "--no-loadscope-reorder",
]  # a process per core, which takes one file at a time

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "typing", "architecture", "tests", "coverage", "docs", "package"]
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
    """Run all tests, with the README and the pages, on the built wheel; on one Python in debug mode."""
    install_wheel(session, "tests")
    if session.python == PYTHONS[-1]:
        session.env.update({"PYTHONDEVMODE": "1", "PYTHONASYNCIODEBUG": "1"})
    session.run("pytest", *PARALLEL, *(["-v"] if IN_CI else []), *session.posargs)


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
    """Run the benchmarks: `nox -s bench -- overhead` runs one of them, without a name all of them."""
    install_wheel(session)
    names = session.posargs or sorted(path.stem for path in BENCHMARKS.glob("[!_]*.py"))
    for name in names:
        session.run("python", str(BENCHMARKS / f"{name}.py"))
