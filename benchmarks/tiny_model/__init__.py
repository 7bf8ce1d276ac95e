"""A tiny language model, trained in about half a minute, that answers kforge's prompts through a server."""
