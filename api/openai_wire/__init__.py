"""OpenAI's own wire format for images, so that an unmodified OpenAI SDK can be pointed at this API."""
