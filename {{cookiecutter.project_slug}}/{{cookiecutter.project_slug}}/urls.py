"""What the site answers to; ``/health/`` and ``/ready/`` are answered by a middleware before."""

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.views import LoginView
from django.urls import include, path
from django.views.generic import TemplateView

from apps.accounts.forms import LimitedForm
from apps.accounts.views import LimitedPasswordResetView
from apps.operations.views import retry, status

urlpatterns = [
    path("", TemplateView.as_view(template_name="home.html"), name="home"),
    path(
        "accounts/login/",
        LoginView.as_view(authentication_form=LimitedForm),
        name="login",
    ),
    path(
        "accounts/password_reset/",
        LimitedPasswordResetView.as_view(),
        name="password_reset",
    ),
    path("accounts/", include("django.contrib.auth.urls")),
    path(settings.ADMIN_PATH, admin.site.urls),
    path("status/", status, name="status"),
    path("status/failures/<int:failure_id>/retry/", retry, name="retry"),
{%- if cookiecutter.email_provider != "smtp" %}
    path("anymail/", include("apps.notifications.urls")),
{%- endif %}
]
