"""The night dashboard: a bulk from a notebook, and a look at one from any other."""
