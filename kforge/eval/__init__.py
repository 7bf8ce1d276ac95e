"""Evaluation: plan, screen, build, check, bench. Knows neither the store, the search nor the network."""
