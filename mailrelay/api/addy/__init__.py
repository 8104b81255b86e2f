"""The addy.io API, version 1: requests and answers exactly as its clients know them, over our own flows."""
