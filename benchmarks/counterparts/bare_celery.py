"""A Celery application with the delivery guarantees of a project and nothing else."""

import os
import time

import psycopg
from celery import Celery

app = Celery("bare", broker=os.environ["REDIS_URL"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=False,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    task_default_queue="default",
    worker_concurrency=2,
    broker_connection_retry_on_startup=True,
)


@app.task
def nothing():
    pass


@app.task
def write_row():
    # A connection per task, as Django makes one.
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute("INSERT INTO bench_row (text) VALUES ('row')")


@app.task
def wait(seconds):
    time.sleep(seconds)
