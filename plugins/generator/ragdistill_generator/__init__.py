"""The field's generators, by their short names."""
