"""The recipe's table of data."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from .recipe_table import Share, Table

# Keys that make a table one of numbers.
TABLE_KEYS = ("features", "target", "window", "stride", "group")
_LATER = (*TABLE_KEYS, "sample_rate", "window_seconds")


class Data(Table):
    """The labelled samples and their splits.

    A source's own splits are kept. Missing ones are made by `test` and `validation`, stratified by label and seeded by
    the recipe's `seed`.
    """

    source: str = Field(description="where the images or texts are: a kind and a place, as the tables below list them")
    test_source: str = Field("", description="another source, all of which is the test split")
    validation: Share = Field(
        0.1,
        description="share of the training samples held back for early stopping, if the source has no such split",
    )
    test: Share = Field(0.2, description="share held back to evaluate the files, if the source has no test split")
    limit_train: int | None = Field(None, ge=2, description="maximum number of training samples, stratified")
    limit_test: int | None = Field(None, ge=1, description="maximum number of test samples, stratified")
    root: str = Field("", description="what the paths of a `csv:` are relative to; where `tfds:` keeps its data")
    max_pixels: int = Field(
        64_000_000, ge=1, description="an image whose header declares more is not decoded (decompression bombs)"
    )
    max_characters: int = Field(100_000, ge=1, description="a longer text is left out")
    text_column: str = Field("text", min_length=1, description="the column of the texts, in tables of texts")
    label_column: str = Field("label", min_length=1, description="the column of the labels, in tables of texts")
    features: tuple[str, ...] = Field(
        (),
        description="the columns of a table of numbers (`csv:`, `parquet:`), in the model's order; none: all "
        "columns of numbers but the target",
    )
    target: str = Field(
        "",
        description="the column of a table of numbers or texts that holds the right answer: class numbers or names, "
        "tags with a bar between them, or a number; several columns of numbers as `a,b`",
    )
    window: int | None = Field(
        None, ge=1, description="rows of a table of numbers that are one sample: a window of a time series"
    )
    stride: int | None = Field(None, ge=1, description="rows from one window to the next; not set: a window's length")
    group: str = Field(
        "",
        description="the column of the person or machine of each row, or of each recording in `wav:TABLE.csv`: no "
        "window crosses two, and each is in one split",
    )
    sample_rate: int | None = Field(
        None, ge=1, le=1_000_000, description="Hz of the waveforms that the model takes, for `wav:`"
    )
    window_seconds: float | None = Field(
        None,
        gt=0,
        le=86_400,
        description="cuts the clips of `wav:` into windows of the model's length; not set: the beginning of each is "
        "taken; training: how long the model's input is",
    )
    encoding: str = Field("utf-8", description="of texts")
    on_unreadable: Literal["drop", "stop"] = Field(
        "drop",
        description='`"drop"` leaves unreadable samples out and reports them (`unreadable.csv` in the run\'s folder '
        'names all); `"stop"` ends the run before training',
    )

    @model_serializer(mode="wrap")
    def _without_unset(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keys that came later are left out where they are not set, so that the hashes of older data stay."""
        return {key: value for key, value in dump(self).items() if value or key not in _LATER}
