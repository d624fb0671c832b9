"""Sweeps: what their runs scored, and searches of settings by Optuna."""
