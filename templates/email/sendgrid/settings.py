EMAIL_DELIVERY_BACKEND = "anymail.backends.sendgrid.EmailBackend"
# https://anymail.dev/en/stable/esps/sendgrid/
ANYMAIL = {
    "SENDGRID_API_KEY": env.text("SENDGRID_API_KEY"),
    "SENDGRID_API_URL": env.text("SENDGRID_API_URL", "https://api.sendgrid.com/v3/"),
    # The public key of SendGrid's reports of bounces and complaints.
    "SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY": env.text(
        "SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY"
    ),
    # In seconds, to connect and for each read.
    "REQUESTS_TIMEOUT": 10,
}
