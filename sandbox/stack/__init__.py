"""Everything on one machine: Redis, S3, the sandbox image server, workers and API, and what supervises them."""
