"""The Python interface for scripts and notebooks: studies, nets and runs."""
