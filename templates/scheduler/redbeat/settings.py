PERIODIC_TASKS = SCHEDULE
CELERY_BEAT_SCHEDULER = "apps.operations.beat.Scheduler"
CELERY_BEAT_SCHEDULE = {entry.name: entry.as_celery() for entry in SCHEDULE}
# Of several beats the one that holds the lock ticks. One that was killed holds it for the lock's
# time-out, and those that wait ask this often: after 25 seconds at most another one ticks.
CELERY_BEAT_MAX_LOOP_INTERVAL = 5
REDBEAT = {
    "redbeat_redis_url": CELERY_BROKER_URL,
    "redbeat_redis_use_ssl": CELERY_BROKER_USE_SSL,
    "redbeat_redis_options": {
        "socket_connect_timeout": 5,
        "socket_timeout": 5,
    },
    "redbeat_key_prefix": f"{SERVICE_NAME}:redbeat:",
    "redbeat_lock_timeout": 20,
}
