EMAIL_DELIVERY_BACKEND = "anymail.backends.amazon_ses.EmailBackend"
# https://anymail.dev/en/stable/esps/amazon_ses/
ANYMAIL = {
    "AMAZON_SES_CLIENT_PARAMS": {
        "aws_access_key_id": env.text("AWS_ACCESS_KEY_ID"),
        "aws_secret_access_key": env.text("AWS_SECRET_ACCESS_KEY"),
        "region_name": env.text("AWS_DEFAULT_REGION"),
        # In seconds. One attempt, because the task tries again.
        "config": {
            "connect_timeout": 5,
            "read_timeout": 10,
            "retries": {"total_max_attempts": 1},
        },
    },
    "AMAZON_SES_CONFIGURATION_SET_NAME": env.text("AMAZON_SES_CONFIGURATION_SET_NAME") or None,
    # The user:password that Amazon SNS must give when it reports a bounce or a complaint.
    "WEBHOOK_SECRET": env.basic_auth("ANYMAIL_WEBHOOK_SECRET"),
}
