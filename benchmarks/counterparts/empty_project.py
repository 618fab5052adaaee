"""The settings of an empty project with Django's own apps of a new project, and its database."""

SECRET_KEY = "bare" * 16
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "django.contrib.staticfiles",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "empty"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
