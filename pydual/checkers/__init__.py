"""Catastrophe checkers that compute: traced Python functions, overseers, slow trusted models."""
