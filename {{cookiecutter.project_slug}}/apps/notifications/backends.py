"""Django's own mail, sent by a worker: no request waits for a mail server."""

from collections.abc import Sequence

from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from kombu.exceptions import OperationalError

from .emails import as_json
from .tasks import send_message


class QueueEmailBackend(BaseEmailBackend):
    """Makes a task of each message when the database transaction has been committed."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """Queue messages.

        Args:
            email_messages: the messages; one without recipients is left out, as Django does.

        Returns:
            The number of messages that were queued, or will be after the transaction.

        Raises:
            ValueError: a header holds a line break, or an attachment{% if cookiecutter.email_provider != "smtp" %} or a field of Anymail's
                {% else %} {% endif %}cannot be queued.
            kombu.exceptions.OperationalError: the broker does not answer.
        """
        queued = 0
        for message in email_messages:
            if not message.recipients():
                continue
            # Refuses line breaks in headers here, where the mistake was made.
            message.message()
            try:
                send_message.delay_on_commit(as_json(message))
            except OperationalError:
                if not self.fail_silently:
                    raise
            else:
                queued += 1
        return queued
