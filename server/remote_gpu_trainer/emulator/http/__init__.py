"""The platform's API over HTTP, route by route."""
