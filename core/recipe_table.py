"""The base class of a recipe's tables: unknown keys and wrong values are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

Share = Annotated[float, Field(gt=0, lt=1)]


if TYPE_CHECKING:
    _Model = BaseModel
else:

    class _Checked(type(BaseModel)):
        """Turns mistakes in what is made in Python into an InputError, as they are where a file is read.

        Parsing does not come through here: it collects the mistakes of all tables.
        """

        def __call__(cls, *args: Any, **values: Any) -> Any:
            try:
                return super().__call__(*args, **values)
            except ValidationError as error:
                from .recipe_file import table_error

                raise table_error(error, cls) from error

    class _Model(BaseModel, metaclass=_Checked):
        """A pydantic model that is checked so."""


class Table(_Model):
    """A table of a recipe: immutable, without unknown keys."""

    # TOML knows inf and nan; JSON, which results are written in, does not.
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[info.field_name or ""].annotation
        values = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(one, bool) for one in values) and kind is not bool and bool not in get_args(kind):
            raise ValueError("true and false are no values of this key")
        return value
