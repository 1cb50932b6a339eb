"""The rewriter's methods, and what each is told to learn."""

from ragdistill_query_rewriter.sequence_stages import SequenceDistiller
from ragdistill_query_rewriter.term_stages import TermsDistiller


class Terms(TermsDistiller):
    """The words that a teacher added, and what words do to the search."""


class Sequence(SequenceDistiller):
    """What a teacher wrote, where it helps the search."""
