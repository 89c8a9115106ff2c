#!/bin/sh
# Debian's Python under the names of docker.io/library/python:3.11-slim, which cannot be pulled here.
set -eu
root=$1
ln -s /usr/bin/python3.11 "$root/usr/local/bin/python"
ln -s /usr/bin/python3.11 "$root/usr/local/bin/python3"
mkdir -p "$root/usr/share/observer-node"
chroot "$root" dpkg-query -W >"$root/usr/share/observer-node/packages"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/*.log "$root"/var/log/apt
