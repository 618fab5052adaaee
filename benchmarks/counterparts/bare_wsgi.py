"""What a WSGI server can at best serve."""

BODY = b'{"status": "healthy", "service": "my_project", "version": "0.1.0"}'


def application(environ, start_response):
    start_response(
        "200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(BODY)))]
    )
    return [BODY]
