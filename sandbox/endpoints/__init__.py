"""One module for each endpoint, or group of endpoints, each with its `ROUTES`."""
