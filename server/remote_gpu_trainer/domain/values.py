"""The base of every domain value: frozen, strict, closed."""

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """An immutable value. Unknown fields and implicit conversions are errors: tolerance lives at the wire."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
