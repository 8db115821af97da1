"""The base of every spec: a frozen record that is valid once it is built."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _from_list(value: Any) -> Any:
    """TOML and JSON have lists where a frozen record holds a tuple."""
    return tuple(value) if isinstance(value, list) else value


def _from_text(value: Any) -> Any:
    """What the command line says without TOML's quotes: one text, or several with commas between."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


class Record(BaseModel):
    """Frozen, keyword-only, strict about types; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def flat(self, prefix: str = "") -> dict[str, Any]:
        """Returns the values by dotted key, those of records within it too."""
        values: dict[str, Any] = {}
        for key in type(self).model_fields:
            value = getattr(self, key)
            inside = isinstance(value, Record)
            values |= value.flat(f"{prefix}{key}.") if inside else {prefix + key: value}
        return values


Floats = Annotated[tuple[float, ...], BeforeValidator(_from_list)]
# Per channel: a mean, and a standard deviation, by which is divided.
Means = Annotated[tuple[float, ...], BeforeValidator(_from_list), Field(min_length=1)]
Deviations = Annotated[
    tuple[Annotated[float, Field(gt=0.0)], ...], BeforeValidator(_from_list), Field(min_length=1)
]
Pair = Annotated[tuple[float, float], BeforeValidator(_from_list)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_from_list)]
# Texts without commas, which may also be said as one text with commas between.
Listed = Annotated[Texts, BeforeValidator(_from_text)]
