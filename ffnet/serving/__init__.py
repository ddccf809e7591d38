"""The REST server for exported models."""
