"""HTML: pages that hold figures and can be read without a network."""
