PERIODIC_TASKS = SCHEDULE
CELERY_BEAT_SCHEDULER = "apps.operations.beat.Scheduler"
CELERY_BEAT_SCHEDULE = {entry.name: entry.as_celery() for entry in SCHEDULE}
# Where beat remembers when each task ran last.
CELERY_BEAT_SCHEDULE_FILENAME = env.text("CELERY_BEAT_SCHEDULE_FILE", "celerybeat-schedule")
# Beat wakes up at least this often, in seconds, and shows a sign of life each time.
CELERY_BEAT_MAX_LOOP_INTERVAL = 30
# When each task ran last is kept at once, so that a beat that was killed runs nothing twice.
CELERY_BEAT_SYNC_EVERY = 1
