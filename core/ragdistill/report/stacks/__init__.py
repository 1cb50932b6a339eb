"""The page of two stacks and their mixes: what report.html shows of ``ragdistill rag compare``."""
