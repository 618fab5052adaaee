#!/bin/sh
# Backups of the database PGDATABASE, as files of pg_dump in BACKUP_FOLDER.
#   run    each day in the hour BACKUP_HOUR (UTC), and at once if the last is more than a day old
#   now    one more
#   check  fails if the last one is more than 26 hours old
# They are kept for BACKUP_DAYS days, and the newest seven longer.
set -eu

child=
partial=

# Runs a program beside the shell, which otherwise would hear no signal until the program ends.
await() {
    "$@" &
    child=$!
    status=0
    wait "$child" || status=$?
    child=
    return "$status"
}

stop() {
    if [ -n "$child" ]; then
        kill "$child" 2>/dev/null || true
        wait "$child" || true
    fi
    rm -f "$partial"
}

newer_than() {
    # $1: minutes
    [ -n "$(find "$BACKUP_FOLDER" -name "$PGDATABASE-*.dump" -mmin "-$1")" ]
}

due() {
    ! newer_than 1500 || { [ "$(date -u +%H)" -eq "$BACKUP_HOUR" ] && ! newer_than 120; }
}

require_settings() {
    case $BACKUP_HOUR in
    [0-9] | [01][0-9] | 2[0-3]) ;;
    *)
        echo "backup: BACKUP_HOUR is '$BACKUP_HOUR'; it must be an hour from 0 to 23" >&2
        exit 2
        ;;
    esac
    case $BACKUP_DAYS in
    '' | *[!0-9]*)
        echo "backup: BACKUP_DAYS is '$BACKUP_DAYS'; it must be a number of days" >&2
        exit 2
        ;;
    esac
}

backup() {
    name=$BACKUP_FOLDER/$PGDATABASE-$(date -u +%Y%m%dT%H%M%SZ).dump
    partial=$name.partial
    await pg_dump --format=custom --file="$partial"
    # Reads the whole file, as a restore does.
    await pg_restore --file=/dev/null "$partial"
    mv "$partial" "$name"
    partial=
    echo "backup: wrote $name, $(wc -c <"$name") bytes"
    # Only now: while no backup succeeds, none is deleted.
    find "$BACKUP_FOLDER" -name "$PGDATABASE-*.dump" | sort -r | tail -n +8 |
        while read -r old; do find "$old" -mmin "+$((BACKUP_DAYS * 1440))" -delete; done
}

run() {
    find "$BACKUP_FOLDER" -name "$PGDATABASE-*.partial" -delete
    while true; do
        if due; then
            await sh "$0" now || echo "backup: failed; the next try is in a minute" >&2
        fi
        await sleep 60
    done
}

umask 077
trap stop EXIT
trap 'exit 0' INT TERM
require_settings
case ${1:-} in
run) run ;;
now) backup ;;
check)
    if ! newer_than 1560; then
        echo "backup: none in $BACKUP_FOLDER is less than 26 hours old" >&2
        exit 1
    fi
    ;;
*)
    echo "usage: backup.sh run|now|check" >&2
    exit 2
    ;;
esac
