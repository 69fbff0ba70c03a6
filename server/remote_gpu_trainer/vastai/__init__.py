"""The platform's HTTP API behind the Marketplace port: calls, pacing, retries, refusals, wire models, status table."""
