"""imagequeue: a durable job queue for gpt-image-2."""
