PERIODIC_TASKS = SCHEDULE
CELERY_BEAT_SCHEDULER = "apps.operations.beat.Scheduler"
CELERY_BEAT_SCHEDULE = {entry.name: entry.as_celery() for entry in SCHEDULE}
# Where beat remembers when each task ran last.
CELERY_BEAT_SCHEDULE_FILENAME = env.text("CELERY_BEAT_SCHEDULE_FILE", "celerybeat-schedule")
# Beat wakes up at least this often, in seconds, and shows a sign of life each time.
CELERY_BEAT_MAX_LOOP_INTERVAL = 30
# After each task that it sends, beat saves when: one that is killed sends it no second time.
CELERY_BEAT_SYNC_EVERY = 1
