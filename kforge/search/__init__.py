"""Search: archive, selection, prompts, parsing of replies, and the loop."""
