#!/bin/sh
# One image for the two services of the bed: the registry and the release mirror.
set -eu
root=$1
mkdir -p "$root/usr/share/observer-node"
chroot "$root" dpkg-query -W >"$root/usr/share/observer-node/packages"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/*.log "$root"/var/log/apt
