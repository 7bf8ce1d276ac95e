"""Models behind HTTP, recordings of them, and the specs that name them; ``docs/models.md`` is the manual."""
