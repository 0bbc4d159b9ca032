"""Engines: where the replicates of a sweep train."""
