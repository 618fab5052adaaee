"""How a member of the staff is known while the database, which holds sessions, does not answer.

The pass is a signature, with its time, over the key of the session in which somebody of the staff
has seen the page. It fits that session alone. Whoever logs out loses the session's cookie, and
with it the use of the pass.
"""

from datetime import timedelta

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner
from django.http import HttpRequest, HttpResponse

NAME = "status_pass"
LIFETIME = timedelta(hours=12)


def give(request: HttpRequest, response: HttpResponse, path: str) -> None:
    """Let a response set the pass.

    Args:
        request: A request of somebody of the staff.
        response: Its response.
        path: Below which path the browser sends it.
    """
    key = request.session.session_key
    signer = _signer()
    response.set_cookie(
        NAME,
        signer.sign(f"{key}").removeprefix(f"{key}{signer.sep}"),
        max_age=LIFETIME,
        path=path,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        # Not Strict: it is needed by whoever follows a link in a mail.
        samesite="Lax",
    )


def fits(request: HttpRequest) -> bool:
    """Return whether a request has a pass for its session; no service is asked."""
    signer = _signer()
    signed = f"{request.session.session_key}{signer.sep}{request.COOKIES.get(NAME, '')}"
    try:
        signer.unsign(signed, max_age=LIFETIME)
    except BadSignature:
        return False
    return True


def _signer() -> TimestampSigner:
    return TimestampSigner(salt=__name__)
