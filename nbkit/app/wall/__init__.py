"""Wall: the runs of a room of learners, shown live, by a folder or at an address."""
