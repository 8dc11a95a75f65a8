"""Single values of a request: their types and ranges, refused with OpenAI's codes and wording."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from sandbox.api_errors import ApiError

Fields = Mapping[str, object]
"""The parameters of a request by name."""


def refuse_unknown(fields: Fields, known: Collection[str]) -> None:
    """Refuse parameters that are not in `known`.

    Raises:
        ApiError: 400 `unknown_parameter`.
    """
    for name in fields:
        if name not in known:
            raise ApiError(f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)


def given(fields: Fields, name: str, default: object) -> object:
    """The parameter, or `default` where it is absent or null: OpenAI's schema calls both the same."""
    value = fields.get(name)
    return default if value is None else value


def missing(name: str) -> ApiError:
    """The refusal of a request without this parameter."""
    return ApiError(f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name)


def string(value: object, name: str) -> str:
    """The value, if it is a string.

    Raises:
        ApiError: 400 `invalid_type`.
    """
    if not isinstance(value, str):
        raise wrong_type(name, "a string", value)
    return value


def choice(fields: Fields, name: str, allowed: Sequence[str]) -> str:
    """One of `allowed`, whose first is the default.

    Raises:
        ApiError: 400 `invalid_type` or `invalid_value`.
    """
    value = string(given(fields, name, allowed[0]), name)
    if value not in allowed:
        choices = ", ".join(f"'{choice}'" for choice in allowed)
        message = f"Invalid value: '{value}'. Supported values are: {choices}."
        raise ApiError(message, code="invalid_value", param=name)
    return value


def integer(fields: Fields, name: str, least: int, most: int, *, default: int) -> int:
    """A whole number from `least` to `most`.

    Raises:
        ApiError: 400 `invalid_type`, `integer_below_min_value` or `integer_above_max_value`.
    """
    value = given(fields, name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(name, "an integer", value)
    if value < least:
        message = (
            f"Invalid '{name}': integer below minimum value. Expected a value >= {least}, but got {value} instead."
        )
        raise ApiError(message, code="integer_below_min_value", param=name)
    if value > most:
        message = f"Invalid '{name}': integer above maximum value. Expected a value <= {most}, but got {value} instead."
        raise ApiError(message, code="integer_above_max_value", param=name)
    return value


def number_in(text: str, name: str, least: int, most: int) -> int:
    """The whole number that a text is, from `least` to `most`.

    Raises:
        ApiError: 400 `invalid_value`.
    """
    if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
        message = f"Invalid '{name}': expected a whole number from {least} to {most}, but got '{text}'."
        raise ApiError(message, code="invalid_value", param=name)
    return int(text)


def wrong_type(name: str, expected: str, value: object) -> ApiError:
    """The refusal of a value that is not `expected` (a type with its article)."""
    message = f"Invalid type for '{name}': expected {expected}, but got {json_type(value)} instead."
    return ApiError(message, code="invalid_type", param=name)


def json_type(value: object) -> str:
    """What JSON calls the value, with its article."""
    names: dict[type, str] = {
        bool: "a boolean",
        str: "a string",
        int: "an integer",
        float: "a decimal number",
        list: "an array",
    }
    return "null" if value is None else names.get(type(value), "an object")
