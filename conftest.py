"""Runs the README's examples as the pages in docs/ are run."""

from __future__ import annotations

import pathlib

import pages

page = pages.page
pytest_collect_file = pages.examples(pathlib.Path(__file__).parent, "README.md", excludes=("*/README.md",)).pytest()
