"""What pydantic asks of our types: FastAPI, MCP servers and others make JSON and schemas with it.

pydantic is not needed. These functions are called by pydantic itself, so that the import finds it.
"""

from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_type_hints

import attrs

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema


def model_schema(
    model: type[attrs.AttrsInstance], handler: "GetCoreSchemaHandler", to_dict: Callable[[Any], dict[str, Any]]
) -> "CoreSchema":
    """Return the schema of a model: it is validated by its fields, and becomes JSON by its own `to_dict`."""
    from pydantic_core import core_schema  # noqa: PLC0415  it calls this

    hints = get_type_hints(model)
    fields = core_schema.typed_dict_schema(
        {
            field.name: core_schema.typed_dict_field(
                handler.generate_schema(hints[field.name]), required=field.default is attrs.NOTHING
            )
            for field in attrs.fields(model)
        },
        cls_name=model.__name__,
    )
    from_dict = core_schema.no_info_after_validator_function(lambda values: model(**values), fields)
    return core_schema.json_or_python_schema(
        json_schema=from_dict,
        python_schema=core_schema.union_schema([core_schema.is_instance_schema(model), from_dict]),
        serialization=core_schema.plain_serializer_function_ser_schema(to_dict),
    )


def handle_schema(handle: type, to_dict: Callable[[Any], dict[str, Any]]) -> "CoreSchema":
    """Return the schema of a handle, which cannot be made from JSON, and becomes JSON by a function."""
    from pydantic_core import core_schema  # noqa: PLC0415  it calls this

    return core_schema.is_instance_schema(
        handle,
        metadata={"pydantic_js_functions": [lambda *_: {"type": "object", "title": handle.__name__}]},
        serialization=core_schema.plain_serializer_function_ser_schema(
            to_dict, return_schema=core_schema.dict_schema(core_schema.str_schema())
        ),
    )


def options_schema(options: type, left_out: Container[str], handler: "GetCoreSchemaHandler") -> "CoreSchema":
    """Return the schema of a TypedDict whose values come from outside, without some options."""
    from pydantic_core import core_schema  # noqa: PLC0415  it calls this

    return core_schema.typed_dict_schema(
        {
            name: core_schema.typed_dict_field(handler.generate_schema(hint), required=False)
            for name, hint in get_type_hints(options, include_extras=True).items()
            if name not in left_out
        },
        cls_name=options.__name__,
        extra_behavior="forbid",
    )


class AsJson(NamedTuple):
    """Note in an annotation: which JSON stands for a value. In Python, any value is accepted, and checked later.

    Attributes:
        kind: A text, or nothing at all.
    """

    kind: Literal["text", "null"]

    def __get_pydantic_core_schema__(self, _: Any, __: "GetCoreSchemaHandler") -> "CoreSchema":  # noqa: ANN401  pydantic's
        """Return the schema."""
        from pydantic_core import core_schema  # noqa: PLC0415  it calls this

        json_schema = core_schema.str_schema() if self.kind == "text" else core_schema.none_schema()
        return core_schema.json_or_python_schema(json_schema=json_schema, python_schema=core_schema.any_schema())
