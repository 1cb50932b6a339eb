"""A teacher behind an OpenAI-compatible ``/v1/embeddings`` endpoint."""
