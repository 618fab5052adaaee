EMAIL_DELIVERY_BACKEND = "anymail.backends.postmark.EmailBackend"
# https://anymail.dev/en/stable/esps/postmark/
ANYMAIL = {
    "POSTMARK_SERVER_TOKEN": env.text("POSTMARK_SERVER_TOKEN"),
    "POSTMARK_MESSAGE_STREAM": env.text("POSTMARK_MESSAGE_STREAM", "outbound"),
    "POSTMARK_API_URL": env.text("POSTMARK_API_URL", "https://api.postmarkapp.com/"),
    # The user:password that Postmark must give when it reports a bounce or a complaint.
    "WEBHOOK_SECRET": env.basic_auth("ANYMAIL_WEBHOOK_SECRET"),
    # In seconds, to connect and for each read.
    "REQUESTS_TIMEOUT": 10,
}
