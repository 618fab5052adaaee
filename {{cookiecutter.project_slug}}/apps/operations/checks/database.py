"""Looks at the database."""

import time

from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from apps.operations.checks.reasons import reason
from apps.operations.pings import ping_database

# As many as doctor opens at the same time, once this has passed.
LEAST_CONNECTIONS = 5
# In seconds: how far clocks may be apart. Expiry times and the schedule are compared across them.
LARGEST_OFFSET = 5.0

# PostgreSQL's words, and what to do.
ADVICE = {
    "password authentication failed": "write the role's own password into DATABASE_URL.",
    "too many": "stop what holds connections, or raise the limit.",
    "connection slots": "stop what holds connections, or raise the limit.",
    "does not exist": "correct the name in DATABASE_URL, or create it.",
    "certificate": "is DATABASE_CA the certificate of the CA that issued the server's?",
}

WRITABLE = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')"
# Whoever may not look at others sees who they are, but not of which kind. What counts as a client
# of somebody is what has a user.
CONNECTIONS = """
WITH clients AS (
  SELECT usename, datname FROM pg_stat_activity
  WHERE usename IS NOT NULL AND pid <> pg_backend_pid()
    AND coalesce(backend_type, 'client backend') = 'client backend'
)
SELECT 'max_connections of the server',
  current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    - coalesce(current_setting('reserved_connections', true)::int, 0),
  (SELECT count(*) FROM clients)
UNION ALL
SELECT 'the limit of the role ' || rolname, rolconnlimit,
  (SELECT count(*) FROM clients WHERE usename = rolname)
FROM pg_roles WHERE rolname = current_user AND rolconnlimit >= 0
UNION ALL
SELECT 'the limit of the database ' || d.datname, datconnlimit,
  (SELECT count(*) FROM clients WHERE clients.datname = d.datname)
FROM pg_database AS d WHERE d.datname = current_database() AND datconnlimit >= 0
"""


def check_database() -> list[str]:
    """Ask the database, whether it can be written to and takes further connections."""
    database = connection.settings_dict
    where = f"{database['NAME']} at {database['HOST'] or 'this machine'}"
    try:
        ping_database()
    except Exception as error:
        why = reason(error)
        advice = next(
            (advice for words, advice in ADVICE.items() if words in why),
            "is it running, and is DATABASE_URL right?",
        )
        return [f"{where} can't be used ({why}): {advice}"]
    if connection.vendor != "postgresql":
        return []
    with connection.cursor() as cursor:
        cursor.execute(WRITABLE)
        standby, read_only = cursor.fetchone()
        cursor.execute(CONNECTIONS)
        limits = cursor.fetchall()
    problems = []
    if standby:
        problems.append(f"{where} is a read-only standby: let DATABASE_URL name the primary.")
    elif read_only == "on":
        problems.append(
            f"{where} is read-only (default_transaction_read_only): turn that off. Providers turn "
            "it on when the disk is full."
        )
    return problems + [
        f"{where} has {max(0, limit - used)} of {limit} connections left ({name}): stop what holds "
        "them, start fewer processes, or raise the limit."
        for name, limit, used in limits
        if limit - used < LEAST_CONNECTIONS
    ]


def check_migrations() -> list[str]:
    """Compare the migrations in the code with those in the database."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if not plan:
        return []
    names = ", ".join(str(migration) for migration, _ in plan[:3])
    names += ", ..." if len(plan) > 3 else ""
    return [f"{len(plan)} not applied ({names}): run python manage.py release."]


def check_clock() -> list[str]:
    """Compare the clock of this machine with that of the database."""
    if connection.vendor != "postgresql":
        return []  # the same machine
    with connection.cursor() as cursor:
        before = time.time()
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
        [seconds] = cursor.fetchone()
        after = time.time()
    # It was read at some moment in between, so that a slow answer is no offset.
    offset = max(float(seconds) - after, before - float(seconds))
    if offset <= LARGEST_OFFSET:
        return []
    return [
        f"the clocks of this machine and of the database are {offset:.0f} seconds apart: set both "
        "by NTP."
    ]
