"""Nets: from a NetSpec to scores."""
