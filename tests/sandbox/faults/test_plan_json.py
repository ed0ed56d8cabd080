"""Fault plans as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from a2e_async.sandbox import Fault, FaultPlan
from a2e_async.sandbox.faults.plan_json import plan_json, read_fault, read_plan

pytestmark = pytest.mark.pure


def test_plan_of_a_file() -> None:
    """A plan has the options of `FaultPlan`; a fault is its type, or an object; a chance is a part of its fault."""
    text = """{
      "script": {"start": [null, "429", {"type": "drop", "after": true}]},
      "chances": {"*": [{"type": "delay", "seconds": 0.5, "chance": 0.1}]},
      "seed": 7, "invisible": 0.5, "per_second": 9, "retry_after": 1
    }"""
    assert read_plan(json.loads(text)) == FaultPlan(
        script={"start": [None, Fault("429"), Fault("drop", after=True)]},
        chances={"*": {Fault("delay", seconds=0.5): 0.1}},
        seed=7,
        invisible=0.5,
        per_second=9,
        retry_after=1,
    )


@pytest.mark.parametrize(
    "plan",
    [FaultPlan(), FaultPlan.random(3, 0.4), FaultPlan(script={"cdn": [None, Fault("short")]}, lost_webhooks=0.5)],
)
def test_plans_can_be_written(plan: FaultPlan) -> None:
    """A plan that is written and read is the same."""
    assert read_plan(json.loads(json.dumps(plan_json(plan)))) == plan


def test_random_plan() -> None:
    """A random plan is short to write."""
    assert read_plan({"random": 7}) == FaultPlan.random(7)
    assert read_plan({"random": None, "rate": 0.5}) == FaultPlan.random(None, 0.5)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (7, "a fault plan must be a JSON object, not 7"),
        ({"sript": {}}, "a fault plan has no 'sript'; it has script, chances"),
        ({"random": "7"}, "random must be a whole number"),
        ({"random": 7, "seed": 1}, "a random fault plan has no 'seed'"),
        ({"script": []}, "script must be a JSON object"),
        ({"script": {"start": "drop"}}, "script.'start'. must be an array"),
        ({"script": {"begin": []}}, "there is no operation 'begin'"),
        ({"script": {"start": ["rain"]}}, "there is no fault 'rain'"),
        ({"script": {"start": [7]}}, "a fault must be a JSON object, not 7"),
        ({"script": {"start": [{}]}}, "a fault must have a type"),
        ({"script": {"start": [{"type": "drop", "after": 1}]}}, "after must be true or false"),
        ({"script": {"start": [{"type": "drop", "status": 500}]}}, "a fault 'drop' takes no status"),
        ({"script": {"start": [{"type": "drop", "chance": 1}]}}, "a fault has no 'chance'"),
        ({"chances": {"start": {}}}, "chances.'start'. must be an array"),
        ({"chances": {"start": ["drop"]}}, "a fault must be a JSON object"),
        ({"chances": {"start": [{"type": "drop"}]}}, "must be a number from 0 to 1, not None"),
        ({"missing": "0.5"}, "missing must be a number"),
        ({"per_second": 0}, "per_second must be an integer"),
    ],
)
def test_invalid_plans(data: Any, message: str) -> None:
    """Every mistake is a `ValueError` that names the field, and what it may be."""
    with pytest.raises(ValueError, match=message):
        read_plan(data)


def test_fault_of_its_type() -> None:
    """A type alone is a fault with the default options."""
    assert read_fault("delay") == Fault("delay")
