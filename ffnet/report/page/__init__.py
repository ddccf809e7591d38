"""The page of a run: one HTML file, the same page live, and its figures for papers."""
