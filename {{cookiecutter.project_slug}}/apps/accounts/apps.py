"""The accounts app."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Who may use the site."""

    name = "apps.accounts"
