"""Analysis: what records say when one looks at them together. Pure: records in, plain data out."""
