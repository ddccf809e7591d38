"""What people look at: tables as text, figures, TensorBoard's files."""
