"""What a reader is told of a report, in words and rounded figures: the same on the terminal, on
the page and on the model card. Unknown is a dash everywhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNKNOWN = "\N{EN DASH}"
FEW_CALLS = 20
"""Of fewer a slow system's speed is a rough one: the 95th percentile of so many is the slowest of them."""
_TIMES = "\N{MULTIPLICATION SIGN}"
Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class System:
    """Teacher, student or an export: one row wherever systems are compared."""

    key: str
    """``teacher``, ``student`` or the export's kind."""
    role: str
    """``teacher``, ``student`` or ``export``."""
    speed: Mapping[str, Any]
    size_mb: float | None
    passed: bool | None
    quality: Mapping[str, Mapping[str, Any]]
    """Measure to a row whose ``student`` is this system; the teacher's own is empty."""


def systems(report: Report) -> list[System]:
    """Teacher, student and exports, in this order."""
    speed = report["speed"]
    teacher, student = report["teacher"], report["student"]
    rows = [
        System("teacher", "teacher", speed.get("teacher") or {}, teacher.get("size_mb"), None, {}),
        System(
            "student",
            "student",
            speed.get("student") or {},
            student.get("size_mb"),
            None,
            report["quality"],
        ),
    ]
    for kind, export in report["exports"].items():
        quality = export.get("quality") or {}
        size, passed = export.get("size_mb"), export.get("passed")
        rows.append(System(kind, "export", speed.get(kind) or {}, size, passed, quality))
    return rows


def headline(report: Report) -> str | None:
    """The measure that the verdict is of, or the first."""
    judged = (report.get("verdict") or {}).get("measure")
    return judged if judged in report["quality"] else next(iter(report["quality"]), None)


def ratio(report: Report, system: str, figure: str = "per_second") -> float | None:
    """How many times faster than the teacher; above 1 is faster for latencies too."""
    own, teacher = ((report["speed"].get(name) or {}).get(figure) for name in (system, "teacher"))
    if not own or not teacher:
        return None
    return float(own / teacher if figure == "per_second" else teacher / own)


def unit(report: Report) -> str:
    """What ``per_second`` counts: tokens where systems write, else texts."""
    found = {speed.get("unit") for speed in report["speed"].values()}
    return "tokens" if "tokens" in found else "texts"


def memory(speed: Mapping[str, Any]) -> float | None:
    """MB that an answer takes at its peak: on the GPU where one is in use (with the weights)."""
    found = speed.get("memory") or {}
    on_gpu: float | None = found.get("gpu_mb")
    return found.get("rise_mb") if on_gpu is None else on_gpu


def fastest(report: Report) -> str | None:
    """Of student and exports that passed, the one of highest throughput."""
    served = [s for s in systems(report) if s.role != "teacher" and s.passed is not False]
    rates = {s.key: rate for s in served if (rate := ratio(report, s.key)) is not None}
    return max(rates, key=lambda key: rates[key], default=None)


def smallest(report: Report) -> tuple[str, float] | None:
    """Of student and exports that passed, the smallest one, and teacher's size / its size.

    An export that was neither timed nor judged is no model (an index, say), and does not count.
    """
    teacher, *others = systems(report)
    models = [s for s in others if s.role == "student" or s.speed or s.quality]
    sizes = {s.key: s.size_mb for s in models if s.passed is not False and s.size_mb}
    if not sizes or not teacher.size_mb:
        return None
    key = min(sizes, key=lambda name: sizes[name])
    return key, teacher.size_mb / sizes[key]


def warnings(report: Report) -> list[str]:
    """What a reader should know before believing the figures: first what the run itself said."""
    found = [*(report.get("warnings") or []), *_chosen(report), *_above_teacher(report)]
    found += [*_above_panel(report), *_no_lift(report)]
    queries = report["data"].get("queries")
    if report["quality"] and queries is not None and queries < 50:
        found.append(f"only {queries} queries were measured: the intervals are wide")
    found += [*_not_learnt(report), *_unreadable(report), *_few_calls(report)]
    if headline(report) in ("overlap@10", "F1 with teacher"):
        found.append(
            "no judgments: the agreement with the teacher is measured, not how good either is"
        )
    count, share = near_duplicates(report)
    if count:
        of = f" ({percent(share)} of them)" if share is not None else ""
        found.append(f"{count:,} evaluation texts have a near-duplicate in training{of}")
    if (judged := report["data"].get("suspicious_positives")) and judged["count"]:
        found.append(
            f"{judged['count']:,} of {judged['of']:,} judgments that may train are of documents "
            "that the teacher finds only below rank 100: look at them"
        )
    for kind, export in report["exports"].items():
        if export.get("passed") is False:
            reasons = "; ".join(export.get("reasons") or []) or "it differs too much"
            found.append(f"export {kind} failed its gate: {reasons}")
    if report["teacher"].get("outputs_may_train") == "no":
        found.append("the teacher's terms do not allow its outputs to train another model")
    return found


def _few_calls(report: Report) -> list[str]:
    """Systems that were too slow to be asked often."""
    calls = {name: (figures or {}).get("calls") for name, figures in report["speed"].items()}
    few = {name: count for name, count in calls.items() if count is not None and count < FEW_CALLS}
    told = ", ".join(f"{count} of the {name}" for name, count in few.items())
    return [f"speeds are of few calls ({told}): take ratios for rough ones"] if few else []


def _not_learnt(report: Report) -> list[str]:
    """What of a teacher's writing was left out."""
    told = (report["stages"].get("collect") or {}).get("rationales") or {}
    left_out = told.get("left_out") or {}
    if not left_out:
        return []
    why = ", ".join(f"{count:,} {fault}" for fault, count in sorted(left_out.items()))
    return [f"of {told['written']:,} rationales {told['learnt']:,} are learnt; not learnt: {why}"]


def _unreadable(report: Report) -> list[str]:
    """Replies that no answer could be read from."""
    found = []
    for name, counts in (report.get("replies") or {}).items():
        lost = sum(counts.values()) - counts.get("whole", 0)
        if lost:
            share = percent(lost / sum(counts.values()))
            found.append(
                f"{lost:,} replies of the {name} ({share}) hold no answer that can be read, and count as wrong"
            )
    return found


def _above_teacher(report: Report) -> list[str]:
    measure = headline(report)
    row = report["quality"].get(measure, {})
    if (row.get("retention") or 0) <= 1:
        return []
    if row.get("ci95") and row["ci95"][0] > 1:
        why = "look for leaks, and for judgments that favour it, before believing it"
    else:
        why = "the interval holds 100 %, so read it as no loss seen, not as a gain"
    return [f"the student is above its teacher in {measure}: {why}"]


def _above_panel(report: Report) -> list[str]:
    measure = headline(report) or ""
    return [
        f"the teacher {member['name']} alone is above all together in {measure}: it may teach better "
        "alone"
        for member in report["teacher"].get("panel") or []
        if (member.get("quality", {}).get(measure, {}).get("retention") or 0) > 1
    ]


def chosen(section: Mapping[str, Any]) -> str:
    """Which of the systems of ``frontier`` is the run, and why."""
    entry = next(entry for entry in section["entries"] if entry["chosen"])
    named = f"{entry['name']} as {entry['system']}"
    held = f"of the {section['compared']} compared"
    gate = percent(section.get("gate"))
    if section["passed"]:
        return f"{named} is the cheapest {held} that passes the gate of {gate}"
    return f"none {held} passes the gate of {gate}: {named} keeps most"


def _chosen(report: Report) -> list[str]:
    section = report.get("frontier")
    if not section:
        return []
    count = section["compared"]
    biased = (
        f"the student was chosen among {count} by these very queries, so what it keeps is told too "
        f"favourably; the verdict allows for it (each was tested at 5 % / {count})"
    )
    return [biased] if section["passed"] else [chosen(section), biased]


def before(report: Report) -> str:
    """Whose measure the teacher of a reranker or a rewriter is to raise."""
    raw = "raw" in report["quality"].get(headline(report), {})
    return "the raw queries'" if raw else "the first stage's"


def _no_lift(report: Report) -> list[str]:
    bounds = report["quality"].get(headline(report), {}).get("lift", {}).get("teacher_ci95")
    if not bounds or bounds[0] > 0:
        return []
    return [
        (
            f"the teacher does not raise {before(report)} {headline(report)} beyond doubt: is there anything "
            "to learn?"
        )
    ]


def near_duplicates(report: Report) -> tuple[int | None, float | None]:
    """How many evaluation texts resemble a training text, and which share that is."""
    found = report["data"].get("near_duplicates")
    if isinstance(found, Mapping):
        return found.get("count"), found.get("share")
    return found, None


def lineage(report: Report) -> str:
    """What is known of whether the student may be used: a sentence for each licence in its line."""
    teacher, student = report["teacher"], report["student"]
    allowed = {
        "yes": "its terms let its outputs train another model",
        "no": "its terms do not let its outputs train another model",
    }.get(teacher.get("outputs_may_train") or "", "whether its outputs may train is unknown")
    said = (
        f"{teacher['name']} is under {teacher.get('licence') or 'an unknown licence'}; {allowed}."
    )
    if terms := teacher.get("terms"):
        said += f" {terms.rstrip('.')}."
    return f"{said} The student is under {student.get('licence') or 'an unknown licence'}."


def sentence(line: str) -> str:
    """``line`` with a capital and a full stop, unless it ends in a mark of its own."""
    return f"{line[:1].upper()}{line[1:]}{'' if line.endswith(('?', '!', '.')) else '.'}"


def number(value: float | None, digits: int = 4) -> str:
    """A measure or a small figure: fixed decimals."""
    return UNKNOWN if value is None else f"{value:,.{digits}f}"


def count(value: float | None) -> str:
    """A count, with separators."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share, as percent."""
    return UNKNOWN if value is None else f"{value * 100:.{digits}f} %"


def interval(bounds: tuple[float, float] | list[float] | None) -> str:
    """An interval of shares, as percent."""
    return UNKNOWN if bounds is None else f"{bounds[0] * 100:.1f} to {bounds[1] * 100:.1f} %"


def times(value: float | None) -> str:
    """A ratio: one decimal below 10."""
    return UNKNOWN if value is None else f"{value:.{1 if value < 10 else 0}f}{_TIMES}"


def figures(value: float | None) -> str:
    """Three significant digits, without an exponent where a reader can do without."""
    if value is None:
        return UNKNOWN
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 4
        return f"{value:,.{digits}f}"
    return f"{value:.1e}"


def parameters(value: int | None) -> str:
    """22.7 M, 8.2 B."""
    if value is None:
        return UNKNOWN
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return str(value)


def duration(seconds: float | None) -> str:
    """8.1 s, 3 min 20 s, 2 h 5 min."""
    if seconds is None:
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def kind(group: Mapping[str, Any]) -> str:
    """What the queries of a group of ``quality_by`` have in common."""
    if group.get("asks"):
        return str(group["asks"])
    if group.get("words"):
        fewest, most = group["words"]
        span = str(most) if fewest == most else f"{fewest} to {most}"
        return f"{span} word{'' if most == 1 else 's'}"
    return "like a training text" if group.get("near_duplicate") else "unlike any training text"


def rank(document: Mapping[str, Any], system: str, depth: int) -> str:
    """The rank of a document of ``worst``; one that was not kept is beyond ``depth``."""
    found = document.get(f"{system}_rank")
    return f">{depth}" if found is None else str(found)


def short(digest: str | None) -> str:
    """The first twelve characters of a digest."""
    return UNKNOWN if not digest else digest.removeprefix("sha256:")[:12]


FILTERS = {
    f.__name__: f
    for f in (
        sentence,
        number,
        count,
        percent,
        interval,
        times,
        figures,
        parameters,
        duration,
        kind,
        rank,
        short,
    )
}
"""What the templates may format with."""
