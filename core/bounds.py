"""What the figures of a record may be: checked where a record is read, by `codec.from_json`, and nowhere else."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

# -1: a side that is left open. Formats hold sides in 32 bits or take the product of all in 64.
Side = Annotated[int, Field(ge=-1, lt=2**31)]
# numpy has 32 axes; no operator of ours takes more than 8.
Shape = Annotated[tuple[Side, ...], Field(max_length=32)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Share = Annotated[float, Field(ge=0, le=1)]
# Of a difference of shares.
Drop = Annotated[float, Field(ge=-1, le=1)]
Milliseconds = Annotated[float, Field(ge=0, le=1e9)]
# Of one inference: what takes no time was not measured, and is no point on a logarithmic scale.
Latency = Annotated[float, Field(gt=0, le=1e9)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]
# Values of a model, and what they differ by.
Finite = Annotated[float, Field(allow_inf_nan=False)]
