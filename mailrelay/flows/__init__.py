"""The stories: gather facts, decide, act, record."""
