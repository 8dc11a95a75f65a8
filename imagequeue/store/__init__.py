"""Redis: every record, every key and every script. Nothing outside this package speaks to Redis, but Celery."""
