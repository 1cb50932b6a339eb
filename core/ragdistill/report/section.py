"""What the sections of report.json are made of."""

from typing import Annotated

from annotated_types import Ge, Len
from pydantic import BaseModel, ConfigDict

Interval = Annotated[list[float], Len(2, 2)]
Count = Annotated[int, Ge(0)]
NonNegative = Annotated[float, Ge(0)]


class Section(BaseModel):
    """Keys that are named have the types given; others may be there, too. No NaN, no infinity."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class Quality(Section):
    """One measure: means over the queries (so many ``queries``, where a measure is not of all), student /
    teacher, its 95 % interval."""

    teacher: float | None = None
    student: float | None = None
    retention: float | None = None
    ci95: Interval | None = None
    queries: Count | None = None
