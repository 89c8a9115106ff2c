#!/bin/sh
# Lays out the folders that the collector owns inside the mounted volumes, then becomes the app.
# An empty volume has none of them, and the app itself never creates a folder (seed 000 B.1 4, B.3).
# The four mount points are not made here: the image and the volumes bring them.
# Names: seed 001, cluster verification, step 4.
set -u

root=${OBSERVER_RUNTIME_ROOT:-/opt/platform/runtime/observer}
data=${OBSERVER_DATA_DIR:-$root/data}
logs=${OBSERVER_LOG_DIR:-$root/logs}

report() {
    printf '{"timestamp":"%s","level":"ERROR","logger":"entrypoint","message":"%s"}\n' \
        "$(date -u +%Y-%m-%dT%H:%M:%S.000000+00:00)" "$1"
}

# lay_out VOLUME FOLDER...: a failure is reported, not fatal: the app then says the same on /ready.
lay_out() {
    volume=$1
    shift
    if [ ! -d "$volume" ]; then
        report "$volume is not there: mount a volume at this path"
        return
    fi
    for folder in "$@"; do
        [ -d "$folder" ] || mkdir -p "$folder" 2>/dev/null \
            || report "cannot create $folder: the volume must be writable for uid $(id -u)"
    done
}

lay_out "$data" "$data/assets/scalp" "$data/assets/ingest" "$data/backup" "$data/symbols" "$data/universe" \
    "${KIS_TOKEN_CACHE_DIR:-$data/cache}"
lay_out "$logs" "$logs/scalp" "$logs/swing" \
    "${OBSERVER_SYSTEM_LOG_DIR:-$logs/system}" "${OBSERVER_MAINTENANCE_LOG_DIR:-$logs/maintenance}"

exec "$@"
