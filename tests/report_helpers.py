"""A made-up but complete run, as run.json holds it."""

import copy
import io
from typing import Any

from rich.console import Console

from ragdistill.report import schema, terminal

STATE: dict[str, Any] = {
    "schema": 1,
    "component": "embedder",
    "method": "embedder/similarity",
    "seed": 0,
    "config": {
        "teacher": "MiniLM",
        "student": None,
        "data": "pydocs",
        "eval_data": None,
        "student_layers": 3,
        "epochs": 2,
        "learning_rate": 1e-4,
        "token_budget": 4096,
        "gate": 0.95,
        "seed": 0,
        "keep_layers": [0, 2, 5],
    },
    "inputs": {"teacher": "3f1c" * 16, "student": "3f1c" * 16, "data": "9ab2" * 16},
    "versions": {"python": "3.12.1", "ragdistill": "0.1.0", "torch": "2.13.0", "onnxruntime": "1.24.1"},
    "stages": {
        "collect": {
            "state": "done",
            "seconds": 61.4,
            "result": {
                "items": 21_480,
                "tokens": 1_204_113,
                "teacher": {
                    "name": "all-MiniLM-L6-v2",
                    "parameters": 22_713_216,
                    "licence": "Apache-2.0",
                    "outputs_may_train": "yes",
                    "size_mb": 90.9,
                },
            },
        },
        "train": {
            "state": "done",
            "seconds": 274.2,
            "result": {
                "items": 42_960,
                "tokens": 2_408_226,
                "student": {
                    "name": "all-MiniLM-L6-v2-3-layers",
                    "base": "all-MiniLM-L6-v2, layers 0, 2 and 5",
                    "parameters": 17_391_744,
                    "licence": "Apache-2.0",
                    "digest": "77e0" * 16,
                    "size_mb": 69.6,
                },
            },
        },
        "evaluate": {
            "state": "done",
            "seconds": 48.9,
            "result": {
                "items": 412,
                "data": {
                    "documents": 4_871,
                    "queries": 412,
                    "split": "test",
                    "near_duplicates": {
                        "count": 3,
                        "share": 3 / 412,
                        "threshold": 0.8,
                        "examples": [
                            {
                                "train": "Return the absolute value of the argument x.",
                                "evaluation": "Return the absolute value of the argument <b>.",
                                "jaccard": 0.875,
                            }
                        ],
                    },
                },
                "quality": {
                    "nDCG@10": {"teacher": 0.5012, "student": 0.4967, "retention": 0.991, "ci95": [0.9715, 1.0094]},
                    "R@10": {"teacher": 0.6311, "student": 0.6238, "retention": 0.9885, "ci95": [0.9652, 1.011]},
                    "R@100": {"teacher": 0.8617, "student": 0.8592, "retention": 0.9972, "ci95": [0.9843, 1.0101]},
                    "RR@10": {"teacher": 0.4608, "student": 0.4567, "retention": 0.9911, "ci95": [0.9664, 1.0158]},
                    "AP@100": {"teacher": 0.4689, "student": 0.4644, "retention": 0.9904, "ci95": [0.9681, 1.0122]},
                },
                "speed": {
                    "teacher": {"p50_ms": 11.84, "p95_ms": 15.21, "p99_ms": 18.9, "per_second": 139.2, "batch": 32},
                    "student": {"p50_ms": 6.31, "p95_ms": 8.4, "p99_ms": 10.2, "per_second": 268.7, "batch": 32},
                    "onnx": {"p50_ms": 3.1, "p95_ms": 4.42, "p99_ms": 5.3, "per_second": 395.4, "batch": 32},
                    "onnx-int8": {"p50_ms": 1.92, "p95_ms": 2.81, "p99_ms": 3.4, "per_second": 611.9, "batch": 32},
                },
                "verdict": {
                    "decision": "go",
                    "margin": 0.0206,
                    "reason": "the student keeps at least 0.95 of the teacher's quality (95 % confidence, 412 queries)",
                    "queries_needed": None,
                    "gate": 0.95,
                    "interval": [0.0124, 0.0287],
                    "queries": 412,
                    "measure": "nDCG@10",
                },
            },
        },
        "export": {
            "state": "done",
            "seconds": 39.0,
            "result": {
                "exports": {
                    "onnx": {
                        "quality": {"nDCG@10": {"teacher": 0.5012, "student": 0.4967, "retention": 0.991, "ci95": [0.9715, 1.0094]}},
                        "max_abs_diff": 2.4e-7,
                        "min_cosine": 0.9999999,
                        "overlap_at_10": 1.0,
                        "ndcg_difference": 0.0,
                        "size_mb": 69.7,
                        "passed": True,
                    },
                    "onnx-int8": {
                        "quality": {"nDCG@10": {"teacher": 0.5012, "student": 0.4951, "retention": 0.9878, "ci95": [0.9671, 1.0079]}},
                        "max_abs_diff": 0.0312,
                        "min_cosine": 0.99412,
                        "overlap_at_10": 0.962,
                        "ndcg_difference": -0.0016,
                        "size_mb": 17.9,
                        "passed": True,
                        "recipe": "dynamic int8, per channel",
                        "attempts": [
                            {"recipe": "dynamic int8, per tensor", "passed": False, "reasons": ["overlap@10 is 0.913, below 0.95"]},
                            {"recipe": "dynamic int8, per channel", "passed": True, "reasons": []},
                        ],
                    },
                }
            },
        },
    },
}  # fmt: skip


def state() -> dict[str, Any]:
    """A copy of its own, to be changed."""
    return copy.deepcopy(STATE)


def made_report(**changes: Any) -> dict[str, Any]:
    """The report of that run."""
    return schema.build(state()) | changes


def bare_report() -> dict[str, Any]:
    """That of a run whose stages left nothing."""
    return schema.build(state() | {"stages": {}})


def on_terminal(report: dict[str, Any], width: int = 80) -> str:
    """What a terminal shows of it."""
    stream = io.StringIO()
    terminal.render(report, Console(file=stream, width=width))
    return stream.getvalue()
