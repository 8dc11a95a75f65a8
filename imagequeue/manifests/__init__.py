"""Manifests: the requests of a batch, read as a stream, checked line by line, kept in S3."""
