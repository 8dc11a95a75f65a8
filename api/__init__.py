"""The REST API process: Flask over the domain."""
