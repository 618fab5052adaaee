"""Addresses that get no e-mail."""

from django.db import models


class SuppressedAddress(models.Model):
    """An address that is not sent to any more; deleting it lifts that."""

    class Reason(models.TextChoices):
        """Why it is not sent to."""

        BOUNCE = "bounce", "bounced for good"
        COMPLAINT = "complaint", "complained"

    address = models.CharField(max_length=320, unique=True)
    reason = models.CharField(max_length=20, choices=Reason)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-created_at",)
        verbose_name_plural = "suppressed addresses"

    def __str__(self) -> str:
        return self.address
