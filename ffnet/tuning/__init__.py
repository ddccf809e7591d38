"""Tuning: the only rooms that know Ray."""
