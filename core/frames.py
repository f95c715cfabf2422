"""Rows as an HTML table, for notebooks, and as a pandas DataFrame. Texts in them are untrusted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from .errors import NotInstalledError
from .visible import visible


def html_table(columns: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """Return a ``<table>``; values are escaped, None becomes a dash."""
    head = "".join(f"<th>{_cell(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row)}</tr>" for row in rows)
    title = f"<caption>{_cell(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    return escape(visible("–" if value is None else str(value)))


def data_frame(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return a pandas DataFrame with these columns. Raises InputError if pandas is not installed."""
    try:
        import pandas as pd
    except ImportError as error:
        raise NotInstalledError(
            "a DataFrame needs pandas, which is not installed here", "pip install pandas"
        ) from error
    return pd.DataFrame([{name: row.get(name) for name in columns} for row in rows], columns=list(columns))
