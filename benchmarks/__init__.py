"""Benchmarks: scripts anyone can run; each prints hardware, versions and spread."""
