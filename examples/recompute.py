"""Recompute report.json of ``ragdistill rag compare`` from the files beside it, with nothing of ragdistill.

``python recompute.py RUN`` says how many figures it made again and which of them differ (exit status 1).
Rankings, answers and seconds are counted anew; other measures begin at their values per query. Intervals
are resampled with other random numbers, and may be off by a tenth of their width.
"""

import itertools
import json
import math
import re
import string
import sys
from collections import Counter
from pathlib import Path

import numpy as np

STAGES = {"": "ranked", "retrieval ": "found"}


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def trec(path, key, value):
    rows = [line.split() for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    return {
        q: {r[key]: float(r[value]) for r in g} for q, g in itertools.groupby(rows, lambda r: r[0])
    }


def ranked(measure, scores, judged):
    name, k = measure.split("@")
    top = sorted(scores, key=scores.get, reverse=True)[: int(k)]
    gains = [max(judged.get(doc, 0.0), 0.0) for doc in top]
    right = sum(grade > 0 for grade in judged.values())
    if name == "R":
        return sum(gain > 0 for gain in gains) / right if right else 0.0
    if name == "RR":
        return next((1 / rank for rank, gain in enumerate(gains, 1) if gain > 0), 0.0)
    best = sorted(judged.values(), reverse=True)[: int(k)]
    dcg, ideal = (sum(g / math.log2(i + 2) for i, g in enumerate(x)) for x in (gains, best))
    return dcg / ideal if ideal else 0.0


def words(text):
    plain = text.lower().translate(str.maketrans("", "", string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", plain).split()


def written(measure, answer, references):
    def alike(one, other):
        if measure == "EM" or not (one and other):
            return float(one == other)
        return 2 * (Counter(one) & Counter(other)).total() / (len(one) + len(other))

    return max(alike(words(answer), words(r)) for r in [r for r in references if words(r)] or [""])


def values(run, cell, qrels):
    """Each measure's values per query, NaN where it does not apply."""
    rows, path = lines(run / f"cells/{cell}.jsonl"), run / f"answers/{cell}.jsonl"
    answers = {row["id"]: row for row in lines(path)} if path.exists() else {}
    told = {m: np.array([r["measures"][m] for r in rows], float) for m in rows[0]["measures"]}
    for prefix, stage in STAGES.items():
        found = trec(run / f"rankings/{cell}.{stage}.trec", 2, 4)
        for m in [m for m in told if re.fullmatch(prefix + r"(nDCG|RR|R)@\d+", m)]:
            asked = ((found.get(r["query"], {}), qrels.get(r["query"], {})) for r in rows)
            told[m] = np.array([ranked(m.removeprefix(prefix), *each) for each in asked])
    for m in {"F1", "EM"} & told.keys():
        for i in np.flatnonzero(np.isfinite(told[m])):  # a refusal in words is an empty answer
            row = answers[rows[i]["query"]]
            if row["references"] and not rows[i]["error"]:
                told[m][i] = written(m, row["answer"] or "", row["references"])
    return rows, told


def resampled(sample, statistic):
    at = np.random.default_rng(1).integers(sample.shape[-1], size=(9_999, sample.shape[-1]))
    return np.quantile(statistic(sample[..., at]), (0.025, 0.975))


def studentised(x):
    """The interval of a mean, by the bootstrap of its t value."""
    off = lambda s: (s.mean(-1) - x.mean()) / (s.std(-1, ddof=1) / math.sqrt(len(x)))
    return x.mean() - x.std(ddof=1) / math.sqrt(len(x)) * resampled(x, off)[::-1]


def latency(seconds):
    n, at = len(seconds), np.percentile(seconds, (50, 95, 99)) * 1000
    return {
        "p50_ms": at[0],
        "p95_ms": at[1] if n >= 20 else None,
        "p99_ms": at[2] if n >= 100 else None,
    }


def of_cells(run, report):
    """Each cell's values, and the figures of it: where in the report, and what."""
    told, figures, qrels = {}, {}, trec(run / "rankings/qrels.trec", 2, 3)
    for cell, said in report["rag"]["cells"].items():
        rows, told[cell] = values(run, cell, qrels)
        at, fine = ("rag", "cells", cell), [row["seconds"] for row in rows if not row["error"]]
        figures[*at, "errors"] = len(rows) - len(fine)
        for m in said["quality"]:
            figures[*at, "quality", m] = np.nanmean(told[cell][m])
            figures[*at, "queries", m] = np.isfinite(told[cell][m]).sum()
        for part in said["latency"]:
            taken = [sum(row.values()) if part == "total" else row[part] for row in fine]
            for name, ms in latency(taken).items():
                figures[*at, "latency", part, name] = ms
                if part == "total" and len(set(cell)) == 1:
                    figures["speed", "teacher" if cell[0] == "T" else "student", name] = ms
    return told, figures


def of_stacks(report, told):
    """Teacher against student: quality, findings of the verdict, lost queries."""
    teacher, student = (told[side * len(report["rag"]["swapped"])] for side in "TS")
    for m in report["quality"]:
        pair = np.array([teacher[m], student[m]])
        pair = pair[:, np.isfinite(pair).all(axis=0)]
        yield ("quality", m, "teacher"), pair[0].mean()
        yield ("quality", m, "student"), pair[1].mean()
        yield ("quality", m, "queries"), pair.shape[1]
        if pair[0].mean():
            yield ("quality", m, "retention"), pair[1].mean() / pair[0].mean()
            yield ("quality", m, "ci95"), resampled(pair, lambda s: s[1].mean(-1) / s[0].mean(-1))
    kept = {m: row["retention"] for m, row in report["quality"].items()}
    ms = [side["ms"][np.isfinite(side["ms"])] for side in (teacher, student)]
    kept |= {"error_rate": student["error"].mean(), "saving": 1 - ms[1].mean() / ms[0].mean()}
    for i, finding in enumerate(report["verdict"]["findings"]):
        found = kept | {"p95_ms": np.quantile(ms[1], 0.95)}
        yield ("verdict", "findings", i, "value"), found[finding["criterion"]]
    faults = report["rag"]["faults"]
    lost = teacher[faults["measure"]] - student[faults["measure"]]
    yield ("rag", "faults", "worse"), (lost > 1e-9).sum()
    yield ("rag", "faults", "better"), (lost < -1e-9).sum()


def of_effects(report, told):
    """Main effects and interactions of a whole matrix: a contrast per query, averaged over the rest."""
    swapped = report["rag"]["swapped"]
    for m, said in report["rag"]["effects"].items() if len(told) == 2 ** len(swapped) else ():
        known = np.all([np.isfinite(cell[m]) for cell in told.values()], axis=0)
        for kind in ("main", "interactions"):
            for i, effect in enumerate(said[kind]):
                at = ("rag", "effects", m, kind, i)
                signs = {
                    c: math.prod(1 if c[swapped.index(p)] == "S" else -1 for p in effect["parts"])
                    for c in told
                }
                x = sum(sign * told[c][m][known] for c, sign in signs.items())
                x = x / 2 ** (len(swapped) - len(effect["parts"]))
                yield (*at, "value"), x.mean()
                yield (*at, "share"), x.mean() / told["T" * len(swapped)][m][known].mean()
                if effect["ci95"] and np.ptp(x):
                    yield (*at, "ci95"), studentised(x)


def of_load(run, report):
    """Requests that several threads asked at once: what was answered, from the first to the last."""
    for side, said in report["speed"].items():
        rows = lines(run / f"load/{side}.jsonl") if "load" in said else []
        fine = [row["seconds"] for row in rows if not row["error"]]
        for name, ms in (latency(fine) if fine else {}).items():
            yield ("speed", side, "load", name), ms
        for name, count in (("requests", len(rows)), ("errors", len(rows) - len(fine))):
            if rows:
                yield ("speed", side, "load", name), count
        if rows:
            whole = max(row["started"] + row["seconds"] for row in rows)
            yield ("speed", side, "load", "per_second"), len(fine) / whole


def of_escalation(run, report, told):
    """What thresholds of the students' sureness cost and keep; signals and halves are given, so are thresholds."""
    section, rows = report.get("escalation"), lines(run / "sureness.jsonl")
    if not section:
        return
    order = [row["query"] for row in lines(next((run / "cells").glob("*.jsonl")))]
    halves = [[r for r in rows if r["half"] == half] for half in ("chosen on", "measured on")]
    for new, half in enumerate(halves):
        at = [order.index(row["query"]) for row in half]
        teacher, student = (told[side * len(report["rag"]["swapped"])] for side in "TS")
        (t, tms), (s, sms) = (
            [x[m][at] for m in (section["measure"], "ms")] for x in (teacher, student)
        )
        lost = t - s > 1e-9
        for name in [section["signal"]] if new else section["candidates"]:
            sure = np.array([r["signals"][name] for r in half], float)
            sure[np.isnan(sure)] = -np.inf
            above = np.sign(np.nan_to_num(sure[~lost])[:, None] - np.nan_to_num(sure[lost]))
            area = (above.mean() + 1) / 2 if above.size else None
            yield ("escalation", *(["auroc"] if new else ["candidates", name])), area
    yield ("escalation", "lost"), lost.sum()
    for i, point in enumerate(section["points"]):
        below = point["threshold"] if point["threshold"] is not None else np.inf if i else -np.inf
        asked = sure < below
        pair, ms = (
            np.array([t, np.where(asked, t, s)]),
            np.where(asked, np.nan_to_num(sms) + tms, sms),
        )
        at, ms = ("escalation", "points", i), ms[np.isfinite(ms)]
        yield (*at, "share"), asked.mean()
        yield (*at, "quality", "student"), pair[1].mean()
        yield (*at, "latency", "mean_ms"), ms.mean()
        if np.ptp(pair[1] - pair[0]):
            yield (*at, "quality", "ci95"), resampled(pair, lambda s: s[1].mean(-1) / s[0].mean(-1))


def off(said, value):
    if value is None or said is None:
        return said is not value
    if isinstance(said, list):
        return max(abs(said - value)) > 0.1 * (said[1] - said[0])
    return not math.isclose(said, value, rel_tol=1e-9, abs_tol=1e-9)


def main(run):
    report = json.loads((run / "report.json").read_text("utf-8"))
    told, figures = of_cells(run, report)
    figures |= dict(of_stacks(report, told)) | dict(of_effects(report, told))
    figures |= dict(of_load(run, report)) | dict(of_escalation(run, report, told))
    wrong = 0
    for path, value in figures.items():
        said = report
        for key in path:
            said = said[key]
        if off(said, value):
            wrong += 1
            print(f"{'/'.join(map(str, path))}: the report says {said}, the files say {value}")
    print(f"{len(figures)} figures recomputed, {wrong} of them differ")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
