"""The project's own user model, there from the first migration on so that it can change later."""

from django.contrib.auth.models import AbstractUser


class User(AbstractUser):
    """A person or a program that may log in."""
