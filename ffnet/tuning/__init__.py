"""Studies under Ray Tune: the search, the schedulers, the trials, and the record of them."""
