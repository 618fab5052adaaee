EMAIL_DELIVERY_BACKEND = "anymail.backends.resend.EmailBackend"
# https://anymail.dev/en/stable/esps/resend/
ANYMAIL = {
    "RESEND_API_KEY": env.text("RESEND_API_KEY"),
    "RESEND_API_URL": env.text("RESEND_API_URL", "https://api.resend.com/"),
    # Signs Resend's reports of bounces and complaints.
    "RESEND_SIGNING_SECRET": env.text("RESEND_SIGNING_SECRET"),
    # In seconds, to connect and for each read.
    "REQUESTS_TIMEOUT": 10,
}
