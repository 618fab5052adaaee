PERIODIC_TASKS = SCHEDULE
CELERY_BEAT_SCHEDULER = "apps.operations.beat.Scheduler"
DJANGO_CELERY_BEAT_TZ_AWARE = True
# Beat looks at the database this often, in seconds, and shows a sign of life each time.
CELERY_BEAT_MAX_LOOP_INTERVAL = 5
# After each task that it sends, beat saves when: one that is killed sends it no second time.
CELERY_BEAT_SYNC_EVERY = 1
