"""Pools: where candidates are built and measured."""
