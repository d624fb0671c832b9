"""One module a family: `make(identity, seed, *, ...)`, `names()` and `check(identity)`.

None imports its package before it is used: signatures can be read where nothing is installed.
"""
