#!/bin/sh
# What makes Debian packages a bare cloud machine with a kernel of its own, after ../node/customize.sh.
set -eu
root=$1

# What only a container cannot have.
rm -f "$root/sbin/node-init" "$root/etc/systemd/system.conf.d/10-quick-stop.conf"
chroot "$root" systemctl unmask systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket \
    proc-sys-fs-binfmt_misc.automount systemd-binfmt.service systemd-networkd-wait-online.service

echo 'LABEL=root / ext4 defaults,errors=remount-ro 0 1' >"$root/etc/fstab"
chroot "$root" systemctl enable systemd-networkd.service

# A cloud gives a new machine its name, address, keys and rules at its first boot; here they are on a second disk.
cat >"$root/usr/local/sbin/machine-seed" <<'SEED'
#!/bin/sh
set -eu
mkdir -p /run/seed
mount -o ro /dev/disk/by-label/seed /run/seed
cp -R --no-preserve=ownership /run/seed/root/. /
umount /run/seed
hostname -F /etc/hostname
chown -R ubuntu:ubuntu /home/ubuntu/.ssh
chmod 700 /home/ubuntu/.ssh
chmod 600 /home/ubuntu/.ssh/authorized_keys /etc/ssh/ssh_host_ed25519_key
if [ -f /etc/iptables/rules.v4 ]; then chmod 640 /etc/iptables/rules.v4; fi
touch /var/lib/machine-seed.done
SEED
chmod 755 "$root/usr/local/sbin/machine-seed"
cat >"$root/etc/systemd/system/machine-seed.service" <<'UNIT'
[Unit]
Description=What the cloud gives a new machine
DefaultDependencies=no
Requires=dev-disk-by\x2dlabel-seed.device
After=local-fs.target dev-disk-by\x2dlabel-seed.device
Before=systemd-networkd.service network-pre.target netfilter-persistent.service ssh.service ssh-host-keys.service
Wants=network-pre.target
ConditionPathExists=!/var/lib/machine-seed.done
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/machine-seed
[Install]
WantedBy=sysinit.target
UNIT
chroot "$root" systemctl enable machine-seed.service
