#!/bin/sh
# After the packages: what the official image has and Debian's package has not.
set -eu
root=$1
here=$(dirname "$0")
# Debian listens on localhost alone: probes would be green and the Service refused.
sed -ri "s/^#?listen_addresses\s*=.*/listen_addresses = '*'/" "$root/usr/share/postgresql/15/postgresql.conf.sample"
chroot "$root" localedef -i en_US -c -f UTF-8 en_US.UTF-8
install -m 755 "$here/docker-entrypoint.sh" "$root/usr/local/bin/docker-entrypoint.sh"
for tool in "$root"/usr/lib/postgresql/15/bin/*; do
    ln -s "/usr/lib/postgresql/15/bin/$(basename "$tool")" "$root/usr/local/bin/"
done
mkdir -p "$root/docker-entrypoint-initdb.d" "$root/var/lib/postgresql/data" "$root/var/run/postgresql"
chroot "$root" chown -R postgres:postgres /var/lib/postgresql /var/run/postgresql
chmod 1777 "$root/var/lib/postgresql/data"
chmod 3777 "$root/var/run/postgresql"
mkdir -p "$root/usr/share/observer-node"
chroot "$root" dpkg-query -W >"$root/usr/share/observer-node/packages"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/*.log "$root"/var/log/apt
