"""Types that the fields of settings share."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from rpckit.addresses import parse_host

Host = Annotated[str, AfterValidator(parse_host)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

KIB = 1 << 10
MIB = 1 << 20
