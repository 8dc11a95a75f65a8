"""The worker process: Celery tasks that call OpenAI and store what it paints."""
