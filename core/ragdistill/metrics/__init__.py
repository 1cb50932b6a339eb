"""Ranking measures, intervals, verdicts and latency."""
