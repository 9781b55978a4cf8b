"""Files: whole-file writing, the cache, processes that build, and what the system's own files tell."""
