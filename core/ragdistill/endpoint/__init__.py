"""Models behind HTTP endpoints: asked in parallel, paid for once, and known again."""
