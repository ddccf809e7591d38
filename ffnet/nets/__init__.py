"""Nets: they compute class scores, and are built from a NetSpec."""
