"""Serving: a net handed on, and the server that answers for it."""
