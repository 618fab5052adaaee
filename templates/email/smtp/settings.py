EMAIL_DELIVERY_BACKEND = "apps.notifications.transport.SMTPBackend"
EMAIL_HOST = env.text("EMAIL_HOST")
EMAIL_PORT = env.port("EMAIL_PORT", default=587)
EMAIL_HOST_USER = env.text("EMAIL_HOST_USER")
EMAIL_HOST_PASSWORD = env.text("EMAIL_HOST_PASSWORD")
EMAIL_USE_SSL = env.flag("EMAIL_USE_SSL", default=False)
EMAIL_USE_TLS = env.flag("EMAIL_USE_TLS", default=not EMAIL_USE_SSL)
EMAIL_TIMEOUT = 10
if EMAIL_USE_SSL and EMAIL_USE_TLS:
    env.reject(
        "EMAIL_USE_SSL and EMAIL_USE_TLS are both true; use EMAIL_USE_SSL for port 465, "
        "EMAIL_USE_TLS (STARTTLS) for 587."
    )
if bool(EMAIL_HOST_USER) != bool(EMAIL_HOST_PASSWORD):
    env.reject(
        "Of EMAIL_HOST_USER and EMAIL_HOST_PASSWORD only one is set; a login needs both, and a "
        "server without login neither."
    )
