"""Run every benchmark, one after the other: never two at once."""

import runpy

CLAIMS = (
    "startup",
    "collection",
    "float16",
    "training",
    "scale",
    "kills",
    "quality",
    "storage",
    "gradcache",
    "logit_losses",
    "students",
    "dimensions",
    "lists",
    "rerankers",
    "cross_encoders",
)

for claim in CLAIMS:
    print(f"== {claim}", flush=True)
    runpy.run_module(f"benchmarks.{claim}", run_name="__main__")
