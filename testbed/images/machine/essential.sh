#!/bin/sh
# Before the packages: what the initrd holds, and that nobody saves the building machine's firewall into the image.
set -eu
root=$1
mkdir -p "$root/etc/initramfs-tools/conf.d" "$root/usr/share/initramfs-tools/modules.d"
printf 'MODULES=list\nCOMPRESS=gzip\nBUSYBOX=n\n' >"$root/etc/initramfs-tools/conf.d/machine"
printf '%s\n' virtio_pci virtio_blk ext4 crc32c_generic >"$root/usr/share/initramfs-tools/modules.d/machine"
for family in v4 v6; do
    echo "iptables-persistent iptables-persistent/autosave_$family boolean false"
done | chroot "$root" debconf-set-selections
