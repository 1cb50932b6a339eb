"""One script per claim. Each prints ratios taken in one run, with their spread.

``python -m benchmarks.collection`` and so on; ``python -m benchmarks`` runs them one after the
other. Findings are dated in LOG.md. Absolute times are not results: machines differ.
"""
