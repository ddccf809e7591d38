"""Ray without Tune: a private Ray, clusters, jobs."""
