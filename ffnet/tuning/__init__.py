"""Runs a study with Ray Tune: search, schedulers, workers, and the writing of the tables."""
