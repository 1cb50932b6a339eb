"""What a run can be told of a teacher behind an endpoint."""

import dataclasses
from typing import Annotated

from annotated_types import Gt

from ragdistill.config import RunConfig, option
from ragdistill.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndpointConfig(RunConfig):
    """The options of a component that may ask its teacher over HTTP."""

    teacher_url: str | None = option(
        "Address of the endpoint that a teacher is behind.",
        affects="collect",
        default=None,
        metavar="URL",
    )
    teacher_key_env: str = option(
        "Environment variable that holds the endpoint's key; it is written down nowhere.",
        affects="report",
        default="API_KEY",
        metavar="VAR",
    )
    teacher_price: str | None = option(
        "What the endpoint bills, in US dollars for a million tokens.",
        affects="report",
        default=None,
        metavar="USD",
        shown_default="unknown",
    )
    teacher_budget: Annotated[float, Gt(0)] | None = option(
        "Ask the endpoint for nothing that might make it cost more than this in US dollars, all runs "
        "with this store counted.",
        affects="report",
        default=None,
        metavar="USD",
    )
    teacher_batch: Annotated[int, Gt(0)] = option(
        "Texts in a request to the endpoint.", affects="report", default=32, metavar="N"
    )
    teacher_concurrency: Annotated[int, Gt(0)] = option(
        "Requests to the endpoint at a time.", affects="report", default=4, metavar="N"
    )
    teacher_timeout: Annotated[float, Gt(0)] = option(
        "Seconds after which a request to the endpoint is given up and sent again.",
        affects="report",
        default=60.0,
        metavar="SECONDS",
    )

    def refuse_endpoint_options(self, prefix: str, *others: tuple[object, str]) -> None:
        """For a run none of whose teachers is behind an endpoint: what only an endpoint heeds was
        not asked for.

        Args:
            prefix: what the name of a teacher behind an endpoint begins with.
            others: further values and their options.

        Raises:
            UserError: it was.
        """
        for asked, where in (
            (self.teacher_url, "--teacher-url"),
            (self.teacher_price, "--teacher-price"),
            (self.teacher_budget, "--teacher-budget"),
            *others,
        ):
            if asked is not None:
                raise UserError(
                    f"the teacher {self.teacher!r} is not behind an endpoint",
                    where=where,
                    mend=f"leave it out, or give --teacher {prefix}NAME",
                )
