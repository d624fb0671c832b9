"""Compares runs: what their groups score, how sure that is, and which group is better."""

from culmen.launchers.comparing.comparison import Comparison
from culmen.launchers.comparing.comparison import compare

__all__ = ['Comparison', 'compare']
