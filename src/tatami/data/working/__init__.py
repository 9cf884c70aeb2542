"""Worker processes that make batches ahead of time and share memory with the one who trains."""
