"""A miniature internet on loopback, in which the quick start, the system tests and the benchmark run the product."""
