"""Helpers without policy: boxes, weights, conditioning, settings. Imports torch and the standard library only."""
