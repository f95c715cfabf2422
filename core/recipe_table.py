"""The base class of a recipe's tables: unknown keys and wrong values are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from .errors import InputError

Share = Annotated[float, Field(gt=0, lt=1)]


if TYPE_CHECKING:
    _Model = BaseModel
else:

    class _Checked(type(BaseModel)):
        """Raises an InputError for invalid values of a table that is made in Python, as for one that is read.

        Parsing does not go through here: it collects the errors of all tables.
        """

        def __call__(cls, *args: Any, **values: Any) -> Any:
            try:
                return super().__call__(*args, **values)
            except ValidationError as error:
                from .recipe_file import table_error

                raise table_error(error, cls) from error

    class _Model(BaseModel, metaclass=_Checked):
        """A pydantic model with that check."""


class Table(_Model):
    """A table of a recipe: immutable, without unknown keys."""

    # TOML has inf and nan; JSON, in which results are written, does not.
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[info.field_name or ""].annotation
        if kind is bool and not isinstance(value, bool):
            raise ValueError("true or false is expected")
        items = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(item, bool) for item in items) and kind is not bool and bool not in get_args(kind):
            raise ValueError("true and false are no values of this key")
        return value


def checked(values: Sequence[str], parse: Any, kind: str) -> tuple[str, ...]:
    """Return `values` if `parse` accepts each. Raises ValueError for what it refuses, and for duplicates."""
    for value in values:
        try:
            parse(value)
        except InputError as error:
            raise ValueError(f"{error.message}. {error.remedy}") from None
    if len(set(values)) != len(values):
        raise ValueError(f"a {kind} is listed twice")
    return tuple(values)
