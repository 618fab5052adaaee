"""Real servers for the tests: PostgreSQL, Redis, TLS, SMTP, HTTP and one that never answers."""
