"""The form in which an administrator edits an entry of the schedule."""

import json
import re

from celery.schedules import crontab
from django.contrib.staticfiles import finders
from django.test import Client
from django_celery_beat.models import PeriodicTask as Row

from apps.operations.schedule import PeriodicTask
from apps.operations.schedule_sync import sync_schedule


def test_the_form_needs_no_inline_script_and_knows_each_crontab_in_words(
    admin_client: Client,
) -> None:
    entry = PeriodicTask(
        name="digest",
        task="apps.operations.tasks.record_heartbeat",
        schedule=crontab(hour="8", minute="0"),
    )
    sync_schedule([entry])
    row = Row.objects.get(name="digest")
    page = admin_client.get(f"/admin/django_celery_beat/periodictask/{row.pk}/change/").text
    scripts = re.findall(r"<script\b([^>]*)>(.*?)</script>", page, re.DOTALL)
    # The Content-Security-Policy forbids to run what stands in the page itself; data it may hold.
    [(attributes, data)] = [script for script in scripts if "src=" not in script[0]]
    assert 'type="application/json"' in attributes
    assert json.loads(data) == {str(row.crontab.pk): row.crontab.human_readable}
    assert any("readable_crontab.js" in attributes for attributes, _ in scripts)
    assert finders.find("readable_crontab.js")
