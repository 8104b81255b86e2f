"""Who calls us over HTTP."""
