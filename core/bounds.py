"""Bounds of the figures in records. `codec.from_json` checks them when a record is read, and nothing else does."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

# -1: an unknown size. Formats store sizes in 32 bits, or their product in 64.
Side = Annotated[int, Field(ge=-1, lt=2**31)]
# numpy supports 32 axes; no operator takes more than 8.
Shape = Annotated[tuple[Side, ...], Field(max_length=32)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Share = Annotated[float, Field(ge=0, le=1)]
# A difference of shares.
Drop = Annotated[float, Field(ge=-1, le=1)]
# A metric that is no share, and a difference of two. Far larger ones overflow where they are drawn.
Amount = Annotated[float, Field(ge=-1e12, le=1e12)]
Milliseconds = Annotated[float, Field(ge=0, le=1e9)]
# Of one inference. Zero means that nothing was measured; what is near it has no place on a logarithmic scale.
SHORTEST_MS, LONGEST_MS = 1e-9, 1e9
Latency = Annotated[float, Field(ge=SHORTEST_MS, le=LONGEST_MS)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]
# Values of a model, and their differences.
Finite = Annotated[float, Field(allow_inf_nan=False)]
# A field that came later: left out of a record where it is not set, so that the hashes of older data stay. A serializer
# of the whole record would write what is no number as null.
LATER = Field(exclude_if=lambda value: not value)
