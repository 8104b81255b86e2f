"""Turns bytes into values and back: pure."""
