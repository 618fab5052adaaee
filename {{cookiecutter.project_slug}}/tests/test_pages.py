"""The pages of the site."""

import pytest
from django.core import mail
from django.core.management import call_command
from django.test import Client

from apps.accounts.models import User


@pytest.fixture
def user() -> User:
    """Return somebody who may log in."""
    return User.objects.create_user("somebody", "somebody@example.com", "a pass phrase")


def test_home_is_served_with_a_policy_for_its_content(client: Client) -> None:
    response = client.get("/")
    assert response.status_code == 200
    assert "default-src 'self'" in response["Content-Security-Policy"]


@pytest.mark.django_db
def test_somebody_logs_in_and_out(client: Client, user: User) -> None:
    assert client.get("/accounts/login/").status_code == 200
    form = {"username": "somebody", "password": "a pass phrase"}
    assert client.post("/accounts/login/", form, follow=True).status_code == 200
    assert client.session["_auth_user_id"] == str(user.pk)
    client.post("/accounts/logout/")
    assert "_auth_user_id" not in client.session


@pytest.mark.django_db
def test_a_forgotten_password_can_be_reset(client: Client, user: User) -> None:
    client.post("/accounts/password_reset/", {"email": user.email})
    [message] = mail.outbox
    assert message.to == [user.email]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("password_reset/", "Send the e-mail"),
        ("password_reset/done/", "E-mail sent"),
        ("reset/MQ/no-token/", "no longer valid"),
        ("reset/done/", "Password set"),
    ],
)
def test_pages_to_reset_a_password_look_like_the_site(client: Client, path: str, text: str) -> None:
    page = client.get(f"/accounts/{path}").text
    assert text in page
    assert "site.css" in page


@pytest.mark.django_db
def test_pages_to_change_a_password_look_like_the_site(client: Client, user: User) -> None:
    client.force_login(user)
    page = client.get("/accounts/password_change/").text
    assert "Change your password" in page
    assert "admin" not in page
    form = {
        "old_password": "a pass phrase",
        "new_password1": "another phrase",
        "new_password2": "another phrase",
    }
    page = client.post("/accounts/password_change/", form, follow=True).text
    assert "Password changed" in page
    assert "admin" not in page


@pytest.mark.django_db
def test_the_admin_is_for_staff(client: Client, user: User) -> None:
    client.force_login(user)
    assert client.get("/admin/").status_code == 302
    user.is_staff = True
    user.save()
    assert client.get("/admin/").status_code == 200
    assert b"Administration" in client.get("/").content


@pytest.mark.django_db
def test_every_model_change_has_its_migration() -> None:
    call_command("makemigrations", check=True, dry_run=True)
