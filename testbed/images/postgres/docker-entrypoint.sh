#!/bin/bash
# The entrypoint of the local postgres:15, written after the documented behaviour of the official image
# (https://hub.docker.com/_/postgres): POSTGRES_PASSWORD, POSTGRES_USER, POSTGRES_DB,
# POSTGRES_INITDB_ARGS, POSTGRES_INITDB_WALDIR, POSTGRES_HOST_AUTH_METHOD, PGDATA, each POSTGRES_* also
# as *_FILE, and the scripts of /docker-entrypoint-initdb.d on an empty data folder.
set -Eeuo pipefail

# from_file NAME [DEFAULT]: NAME takes the content of the file that NAME_FILE names.
from_file() {
    local name=$1 default=${2:-} file_variable="$1_FILE"
    if [[ -n ${!name:-} && -n ${!file_variable:-} ]]; then
        echo "error: both $name and $file_variable are set (but are exclusive)" >&2
        exit 1
    fi
    local value=${!name:-$default}
    [[ -z ${!file_variable:-} ]] || value=$(<"${!file_variable}")
    export "$name=$value"
    unset "$file_variable"
}

make_folders() {
    mkdir -p "$PGDATA"
    chmod 00700 "$PGDATA" || :
    mkdir -p /var/run/postgresql || :
    chmod 03775 /var/run/postgresql 2>/dev/null || :
    if [[ -n ${POSTGRES_INITDB_WALDIR:-} ]]; then
        mkdir -p "$POSTGRES_INITDB_WALDIR"
        chmod 700 "$POSTGRES_INITDB_WALDIR"
    fi
    if [[ $(id -u) = 0 ]]; then
        chown -R postgres:postgres "$PGDATA" ${POSTGRES_INITDB_WALDIR:+"$POSTGRES_INITDB_WALDIR"} /var/run/postgresql
    fi
}

require_password() {
    if [[ -z $POSTGRES_PASSWORD && $POSTGRES_HOST_AUTH_METHOD != trust ]]; then
        cat >&2 <<-'MESSAGE'
		Error: Database is uninitialized and superuser password is not specified.
		       You must specify POSTGRES_PASSWORD to a non-empty value for the
		       superuser, for example by "-e POSTGRES_PASSWORD=password".
		MESSAGE
        exit 1
    fi
}

init_database() {
    local extra=()
    # Word splitting is what POSTGRES_INITDB_ARGS is documented for.
    # shellcheck disable=SC2206
    [[ -z ${POSTGRES_INITDB_ARGS:-} ]] || extra=($POSTGRES_INITDB_ARGS)
    [[ -z ${POSTGRES_INITDB_WALDIR:-} ]] || extra+=(--waldir "$POSTGRES_INITDB_WALDIR")
    initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") "${extra[@]}"
    printf '\nhost all all all %s\n' "$POSTGRES_HOST_AUTH_METHOD" >>"$PGDATA/pg_hba.conf"
}

sql() {
    PGHOST='' PGHOSTADDR='' psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --no-password "$@"
}

run_init_scripts() {
    local script
    for script in /docker-entrypoint-initdb.d/*; do
        case $script in
            *.sh)
                if [[ -x $script ]]; then
                    echo "$0: running $script"
                    "$script"
                else
                    echo "$0: sourcing $script"
                    # shellcheck disable=SC1090
                    . "$script"
                fi
                ;;
            *.sql) echo "$0: running $script"; sql --dbname "$POSTGRES_DB" -f "$script" ;;
            *.sql.gz) echo "$0: running $script"; gunzip -c "$script" | sql --dbname "$POSTGRES_DB" ;;
            *.sql.xz) echo "$0: running $script"; xzcat "$script" | sql --dbname "$POSTGRES_DB" ;;
            *.sql.zst) echo "$0: running $script"; zstd -dc "$script" | sql --dbname "$POSTGRES_DB" ;;
            '/docker-entrypoint-initdb.d/*') ;;
            *) echo "$0: ignoring $script" ;;
        esac
    done
}

main() {
    export PATH=/usr/lib/postgresql/15/bin:$PATH
    : "${PGDATA:=/var/lib/postgresql/data}"
    export PGDATA
    # A first argument that is an option belongs to postgres.
    [[ ${1:-} != -* ]] || set -- postgres "$@"
    if [[ ${1:-} != postgres ]]; then
        exec "$@"
    fi
    make_folders
    if [[ $(id -u) = 0 ]]; then
        exec setpriv --reuid=postgres --regid=postgres --init-groups "${BASH_SOURCE[0]}" "$@"
    fi
    if [[ -s $PGDATA/PG_VERSION ]]; then
        echo
        echo 'PostgreSQL Database directory appears to contain a database; Skipping initialization'
        echo
        exec "$@"
    fi
    from_file POSTGRES_PASSWORD
    from_file POSTGRES_USER postgres
    from_file POSTGRES_DB "$POSTGRES_USER"
    from_file POSTGRES_INITDB_ARGS
    from_file POSTGRES_HOST_AUTH_METHOD scram-sha-256
    require_password
    init_database
    # Only the socket, so that nobody is served before the scripts ran.
    pg_ctl -D "$PGDATA" -o "-c listen_addresses='' -p 5432" -w start
    if [[ $POSTGRES_DB != postgres ]]; then
        sql --dbname postgres --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
    fi
    run_init_scripts
    pg_ctl -D "$PGDATA" -m fast -w stop
    unset POSTGRES_PASSWORD
    echo
    echo 'PostgreSQL init process complete; ready for start up.'
    echo
    exec "$@"
}

main "$@"
