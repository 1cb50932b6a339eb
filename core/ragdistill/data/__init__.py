"""Corpora, queries and judgments: loading, checking, splitting, auditing."""
