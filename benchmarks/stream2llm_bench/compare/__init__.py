"""Two result files held against each other."""
