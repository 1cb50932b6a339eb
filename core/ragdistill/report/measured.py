"""The sections of report.json on how fast systems are, and how well calibrated."""

from typing import Annotated, Literal

from annotated_types import Ge, Le

from ragdistill.report.section import Count, NonNegative, Section

Share = Annotated[float, Ge(0), Le(1)]


class Spread(Section):
    """Percentiles in milliseconds; null where there were too few to tell."""

    p50_ms: NonNegative | None = None
    p95_ms: NonNegative | None = None
    p99_ms: NonNegative | None = None


class Memory(Section):
    """See ``ragdistill.metrics.memory.peak_memory``."""

    rise_mb: NonNegative | None = None
    gpu_mb: NonNegative | None = None


class Load(Spread):
    """Whole requests, ``concurrency`` at once; see ``ragdistill.metrics.load.figures``. ``memory`` is all
    that the system took in a process of its own, what it loaded too."""

    concurrency: Annotated[int, Ge(1)]
    requests: Count
    errors: Count
    per_second: NonNegative | None = None
    first_error: str | None = None
    memory: Memory | None = None


class Speed(Spread):
    """Latency of single texts (of whole answers, of what writes) in milliseconds, and how many of the
    ``unit``, texts unless it says tokens, a second. ``first_token``, ``token`` and ``memory`` are of
    what writes, by ``ragdistill.metrics.generation.profile_generation``."""

    per_second: NonNegative | None = None
    latencies_ms: list[NonNegative] | None = None
    unit: Literal["texts", "tokens"] | None = None
    first_token: Spread | None = None
    token: Spread | None = None
    memory: Memory | None = None
    load: Load | None = None


class Bin(Section):
    """Tokens of about one confidence: the means, and how many."""

    confidence: Share
    accuracy: Share
    count: Count


class Reliability(Section):
    """A reliability table and its expected and maximum calibration error."""

    ece: Share
    mce: Share
    bins: list[Bin]


class Calibration(Section):
    """See ``ragdistill.metrics.calibration.calibration``."""

    tokens: Count
    confidence: Share
    accuracy: Share
    equal_width: Reliability
    equal_mass: Reliability
