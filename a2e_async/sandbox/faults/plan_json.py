"""Fault plans and faults as JSON, for files and for the control API. docs/sandbox.md shows the format."""

from collections.abc import Mapping
from typing import Any, Final

import attrs

from a2e_async.sandbox.faults.plan import FAULT_TYPES, Fault, FaultPlan

_FAULT_FIELDS: Final = tuple(each.name for each in attrs.fields(Fault))
_PLAN_FIELDS: Final = tuple(each.name for each in attrs.fields(FaultPlan))


def read_plan(data: object) -> FaultPlan:
    """Return a plan.

    Args:
        data: The decoded JSON: an object with the options of `FaultPlan`, or ``{"random": SEED, "rate": RATE}``.

    Raises:
        ValueError: It is not a plan; the message names the field.
    """
    fields = _read_object(data, "a fault plan")
    if "random" in fields:
        _check_names(fields, ("random", "rate"), "a random fault plan")
        seed = fields["random"]
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            message = f"random must be a whole number, or null, not {seed!r}"
            raise ValueError(message)
        return FaultPlan.random(seed, **{name: fields[name] for name in ("rate",) if name in fields})
    _check_names(fields, _PLAN_FIELDS, "a fault plan")
    script = {name: _read_script(name, each) for name, each in _read_object(fields.get("script", {}), "script").items()}
    chances = {
        name: _read_chances(name, each) for name, each in _read_object(fields.get("chances", {}), "chances").items()
    }
    return FaultPlan(**{**fields, "script": script, "chances": chances})


def read_fault(data: object) -> Fault:
    """Return a fault of its type, such as ``"drop"``, or of an object with the options of `Fault`.

    Raises:
        ValueError: It is not a fault; the message names the field.
    """
    fields: Mapping[str, Any] = {"type": data} if isinstance(data, str) else _read_object(data, "a fault")
    _check_names(fields, _FAULT_FIELDS, "a fault")
    type_name, after = fields.get("type"), fields.get("after", False)
    if not isinstance(type_name, str):
        message = f"a fault must have a type; the types are {', '.join(FAULT_TYPES)}"
        raise ValueError(message)  # noqa: TRY004  (every error of a plan is a ValueError)
    if not isinstance(after, bool):
        message = f"after must be true or false, not {after!r}"
        raise ValueError(message)  # noqa: TRY004  (as above)
    return Fault(type_name, **{name: value for name, value in fields.items() if name != "type"})


def plan_json(plan: FaultPlan) -> dict[str, Any]:
    """Return a plan as `read_plan` reads it, without the options that have their defaults."""
    options = {
        each.name: getattr(plan, each.name)
        for each in attrs.fields(FaultPlan)
        if each.name not in {"script", "chances"} and getattr(plan, each.name) != each.default
    }
    script = {
        name: [None if fault is None else fault_json(fault) for fault in faults] for name, faults in plan.script.items()
    }
    chances = {
        name: [fault_json(fault) | {"chance": chance} for fault, chance in faults.items()]
        for name, faults in plan.chances.items()
    }
    return {name: value for name, value in (("script", script), ("chances", chances)) if value} | options


def fault_json(fault: Fault) -> dict[str, Any]:
    """Return a fault as `read_fault` reads it."""
    return attrs.asdict(fault, filter=lambda _, value: value is not None and value is not False)


def _read_script(name: str, data: object) -> list[Fault | None]:
    if not isinstance(data, list):
        message = f"script[{name!r}] must be an array of faults and nulls"
        raise ValueError(message)  # noqa: TRY004  (as above)
    return [None if each is None else read_fault(each) for each in data]


def _read_chances(name: str, data: object) -> dict[Fault, float]:
    if not isinstance(data, list):
        message = f'chances[{name!r}] must be an array of faults that have a "chance"'
        raise ValueError(message)  # noqa: TRY004  (as above)
    chances = {}
    for each in data:
        fields = dict(_read_object(each, "a fault"))
        chance = fields.pop("chance", None)
        chances[read_fault(fields)] = chance
    return chances


def _read_object(data: object, what: str) -> Mapping[str, Any]:
    if not isinstance(data, dict):
        message = f"{what} must be a JSON object, not {data!r}"
        raise ValueError(message)  # noqa: TRY004  (as above)
    return data


def _check_names(fields: Mapping[str, Any], known: tuple[str, ...], what: str) -> None:
    for name in fields:
        if name not in known:
            message = f"{what} has no {name!r}; it has {', '.join(known)}"
            raise ValueError(message)
