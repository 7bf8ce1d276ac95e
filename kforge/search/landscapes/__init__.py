"""Recorded performance landscapes, and the search strategies compared on them."""
