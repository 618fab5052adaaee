PERIODIC_TASKS = SCHEDULE
CELERY_BEAT_SCHEDULER = "apps.operations.beat.Scheduler"
DJANGO_CELERY_BEAT_TZ_AWARE = True
# Beat looks at the database this often, in seconds, and shows a sign of life each time.
CELERY_BEAT_MAX_LOOP_INTERVAL = 5
# When each task ran last is kept at once, so that a beat that was killed runs nothing twice.
CELERY_BEAT_SYNC_EVERY = 1
