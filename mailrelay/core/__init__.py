"""Decides what should happen: pure, values in and values out."""
