"""Accounts in the admin."""

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from apps.accounts.forms import AdminLimitedForm
from apps.accounts.models import User

admin.site.login_form = AdminLimitedForm
admin.site.register(User, UserAdmin)
