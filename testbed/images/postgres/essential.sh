#!/bin/sh
# Before the packages: the official image's uid and gid 999, and no cluster made by Debian's package.
set -eu
root=$1
echo 'postgres:x:999:' >>"$root/etc/group"
echo 'postgres:x:999:999:PostgreSQL:/var/lib/postgresql:/bin/bash' >>"$root/etc/passwd"
echo 'postgres:*:19000:0:99999:7:::' >>"$root/etc/shadow"
mkdir -p "$root/etc/postgresql-common"
echo 'create_main_cluster = false' >"$root/etc/postgresql-common/createcluster.conf"
