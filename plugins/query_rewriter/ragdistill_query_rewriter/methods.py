"""The rewriter's methods: one distiller, told what to learn."""

from ragdistill_query_rewriter.distiller import TermsDistiller


class Terms(TermsDistiller):
    """The words that a teacher added, and what words do to the search."""
