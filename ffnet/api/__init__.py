"""What a script or a notebook calls: studies, nets and runs as functions and objects of Python."""
