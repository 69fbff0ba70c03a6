"""A model's arguments into strict values, with one sentence about the first that does not fit."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from remote_gpu_trainer.errors import InvalidRequest

V = TypeVar("V", bound=BaseModel)


def made(kind: type[V], effect: str, **fields: object) -> V:
    """Build a value.

    Raises:
        InvalidRequest: a field is out of its range; the effect says what did not happen.
    """
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidRequest(f"{where}: {first['msg']}", next_step="correct this argument", effect=effect) from error
