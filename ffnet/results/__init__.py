"""Results: where a run's files are and what its tables hold. Needs neither TensorFlow nor Ray."""
