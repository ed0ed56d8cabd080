"""Runs every ``python`` block of the pages against a local A2E."""

from __future__ import annotations

import pathlib

import pages

page = pages.page
pytest_collect_file = pages.collect_examples(pathlib.Path(__file__).parent, "*.md", excludes=("_build/*",)).pytest()
