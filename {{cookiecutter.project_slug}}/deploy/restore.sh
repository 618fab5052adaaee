#!/bin/sh
# Puts a backup in the place of the database PGDATABASE, to which nobody may be connected.
#   restore.sh [FILE]   a file in BACKUP_FOLDER; without it the newest
# The backup becomes a new database first. Only when it is complete the two change places, and the
# old one is kept under another name.
set -eu

old=${PGDATABASE}_$(date -u +%Y%m%dt%H%M%S)
new=${PGDATABASE}_new
export PGOPTIONS=--client-min-messages=warning

sql() {
    psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --dbname=postgres "$@"
}

if [ $# -gt 0 ]; then
    file=$BACKUP_FOLDER/${1##*/}
else
    file=$(find "$BACKUP_FOLDER" -name "$PGDATABASE-*.dump" | sort | tail -n 1)
fi
if [ ! -f "$file" ]; then
    echo "restore: there is no file ${file:-in $BACKUP_FOLDER}" >&2
    exit 1
fi

connections=$(
    sql <<END
SELECT count(*) FROM pg_stat_activity
WHERE datname = '$PGDATABASE' AND backend_type = 'client backend';
END
)
if [ "$connections" -ne 0 ]; then
    echo "restore: $connections connections to $PGDATABASE are open; stop what uses it" >&2
    exit 1
fi

echo "restore: reading $file"
dropdb --if-exists "$new"
createdb "$new"
pg_restore --dbname="$new" --no-owner --no-privileges --exit-on-error --single-transaction "$file"

# PostgreSQL refuses this, and does neither, if somebody has connected meanwhile.
sql --single-transaction <<END
ALTER DATABASE "$PGDATABASE" RENAME TO "$old";
ALTER DATABASE "$new" RENAME TO "$PGDATABASE";
END
echo "restore: done; the database as it was is now $old"
echo "restore: to delete it: dropdb $old"
