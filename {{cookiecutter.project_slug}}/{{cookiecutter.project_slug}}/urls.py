"""What the site answers to; ``/health/`` and ``/ready/`` are answered by a middleware before."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import TemplateView

urlpatterns = [
    path("", TemplateView.as_view(template_name="home.html"), name="home"),
    path("accounts/", include("django.contrib.auth.urls")),
    path(settings.ADMIN_PATH, admin.site.urls),
{%- if cookiecutter.email_provider != "smtp" %}
    path("anymail/", include("apps.notifications.urls")),
{%- endif %}
]
