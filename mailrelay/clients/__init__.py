"""Whom we call: Postfix' listener for re-injection, postconf."""
