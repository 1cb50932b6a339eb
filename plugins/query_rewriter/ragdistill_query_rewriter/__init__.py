"""The field's query rewriters, by their short names."""
