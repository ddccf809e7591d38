"""Jobs on a running Ray cluster, through its Jobs API."""
