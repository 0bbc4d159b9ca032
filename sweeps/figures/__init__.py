"""Figures of sweeps and losses."""
