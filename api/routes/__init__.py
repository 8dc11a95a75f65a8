"""The addresses of the API, one resource a module."""
