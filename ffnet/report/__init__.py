"""Shows a run: tables as text, figures, TensorBoard's files."""
