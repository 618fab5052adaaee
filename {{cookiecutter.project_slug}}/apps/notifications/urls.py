{%- set view = {
  "sendgrid": "SendGridTrackingWebhookView", "ses": "PasswordFirstWebhookView",
  "mailgun": "SignedOnceWebhookView", "postmark": "PostmarkTrackingWebhookView",
  "resend": "ResendTrackingWebhookView", "brevo": "BrevoTrackingWebhookView",
  "mailjet": "MailjetTrackingWebhookView",
}.get(cookiecutter.email_provider, "") -%}
{%- set esp = {"ses": "amazon_ses"}.get(cookiecutter.email_provider, cookiecutter.email_provider) -%}
{%- set secret = {
  "sendgrid": "SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY",
  "mailgun": "MAILGUN_WEBHOOK_SIGNING_KEY", "resend": "RESEND_SIGNING_SECRET",
}.get(cookiecutter.email_provider, "WEBHOOK_SECRET") -%}
"""Where {{ cookiecutter.__email_name }} reports bounces and complaints, if its reports can be verified."""

{% if cookiecutter.email_provider not in ("mailgun", "ses") -%}
from anymail.webhooks.{{ esp }} import {{ view }}
{% endif -%}
from django.conf import settings
from django.urls import URLPattern, path

{% if cookiecutter.email_provider in ("mailgun", "ses") -%}
from .tracking import {{ view }}

{% endif -%}
urlpatterns: list[URLPattern] = []
if settings.ANYMAIL["{{ secret }}"]:
    urlpatterns.append(path("{{ esp }}/tracking/", {{ view }}.as_view()))
