"""The field's rerankers, by their short names."""
