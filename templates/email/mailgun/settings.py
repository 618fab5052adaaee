EMAIL_DELIVERY_BACKEND = "anymail.backends.mailgun.EmailBackend"
# https://anymail.dev/en/stable/esps/mailgun/
ANYMAIL = {
    "MAILGUN_API_KEY": env.text("MAILGUN_API_KEY"),
    "MAILGUN_SENDER_DOMAIN": env.text("MAILGUN_SENDER_DOMAIN"),
    "MAILGUN_API_URL": env.text("MAILGUN_API_URL", "https://api.mailgun.net/v3"),
    # Signs Mailgun's reports of bounces and complaints.
    "MAILGUN_WEBHOOK_SIGNING_KEY": env.text("MAILGUN_WEBHOOK_SIGNING_KEY"),
    # In seconds, to connect and for each read.
    "REQUESTS_TIMEOUT": 10,
}
