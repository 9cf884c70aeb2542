"""Speed claims as scripts: each prints a table with both sides, losses included, and can write JSON."""
