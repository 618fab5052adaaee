EMAIL_DELIVERY_BACKEND = "anymail.backends.brevo.EmailBackend"
# https://anymail.dev/en/stable/esps/brevo/
ANYMAIL = {
    "BREVO_API_KEY": env.text("BREVO_API_KEY"),
    "BREVO_API_URL": env.text("BREVO_API_URL", "https://api.brevo.com/v3/"),
    # The user:password that Brevo must give when it reports a bounce or a complaint.
    "WEBHOOK_SECRET": env.basic_auth("ANYMAIL_WEBHOOK_SECRET"),
    # In seconds, to connect and for each read.
    "REQUESTS_TIMEOUT": 10,
}
