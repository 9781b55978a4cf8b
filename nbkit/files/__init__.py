"""Files: whole-file writing, the cache, and what the system's own files tell of cores and memory."""
