"""A trained net handed on: its folder, card and graph."""
