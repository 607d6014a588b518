"""What samples say: estimates with intervals, groups of runs, and verdicts on targets."""
