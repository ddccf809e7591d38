"""Exports a run to programs that people use to look at experiments: Optuna, MLflow, W&B."""
