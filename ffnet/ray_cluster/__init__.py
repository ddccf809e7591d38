"""Everything about Ray but Ray Tune: a private Ray, clusters, jobs."""
