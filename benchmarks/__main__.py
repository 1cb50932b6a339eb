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
    "logit_store",
    "logit_students",
    "students",
    "dimensions",
    "lists",
    "rerankers",
    "cross_encoders",
    "generation",
    "generators",
    "reasoning",
    "verdicts",
    "generator_terms",
    "generator_policies",
    "generator_tokens",
    "rewriters",
    "expanders",
)

for claim in CLAIMS:
    print(f"== {claim}", flush=True)
    runpy.run_module(f"benchmarks.{claim}", run_name="__main__")
