"""Culmen's tests: the folders mirror culmen/; `integration` and `learning` stand beside them."""
