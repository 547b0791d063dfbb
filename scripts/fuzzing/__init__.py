"""Random damage to whatever is read from outside: one file per kind of input."""
