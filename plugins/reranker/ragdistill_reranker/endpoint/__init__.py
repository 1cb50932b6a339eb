"""A teacher behind a ``/rerank`` endpoint."""
