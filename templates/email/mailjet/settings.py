EMAIL_DELIVERY_BACKEND = "anymail.backends.mailjet.EmailBackend"
# https://anymail.dev/en/stable/esps/mailjet/
ANYMAIL = {
    "MAILJET_API_KEY": env.text("MAILJET_API_KEY"),
    "MAILJET_SECRET_KEY": env.text("MAILJET_SECRET_KEY"),
    "MAILJET_API_URL": env.text("MAILJET_API_URL", "https://api.mailjet.com/v3.1/"),
    # The user:password that Mailjet must give when it reports a bounce or a complaint.
    "WEBHOOK_SECRET": env.basic_auth("ANYMAIL_WEBHOOK_SECRET"),
    # In seconds, to connect and for each read.
    "REQUESTS_TIMEOUT": 10,
}
