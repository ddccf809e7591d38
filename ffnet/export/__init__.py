"""Exporting a trained net as a SavedModel with a card."""
