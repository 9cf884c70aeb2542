"""Training: the loop, what it measures, and the files that let a killed run go on as if nothing had happened."""
