"""What `make bench` runs: each module prints what it compared, as a ratio or against a limit, measured in the same run."""
