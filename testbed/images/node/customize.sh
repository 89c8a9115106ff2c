#!/bin/sh
# What makes Debian packages a bare cloud machine in a container. Nothing of Kubernetes.
set -eu
root=$1

chroot "$root" useradd --create-home --shell /bin/bash --groups sudo ubuntu
echo 'ubuntu ALL=(ALL) NOPASSWD:ALL' >"$root/etc/sudoers.d/90-cloud-init-users"
chmod 440 "$root/etc/sudoers.d/90-cloud-init-users"
install -d -m 700 "$root/home/ubuntu/.ssh"
chroot "$root" chown -R ubuntu:ubuntu /home/ubuntu/.ssh
cat >"$root/etc/ssh/sshd_config.d/60-cloudimg-settings.conf" <<'CONF'
PasswordAuthentication no
UseDNS no
CONF

# Identity belongs to a machine, not to an image. The bed puts host keys in place; a node without them
# makes its own.
rm -f "$root"/etc/ssh/ssh_host_*
cat >"$root/etc/systemd/system/ssh-host-keys.service" <<'UNIT'
[Unit]
Description=Make missing SSH host keys
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key
[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A
[Install]
WantedBy=multi-user.target
UNIT
chroot "$root" systemctl enable ssh-host-keys.service
: >"$root/etc/machine-id"

# The postinst of iptables-persistent saves the *building* machine's rules into the image.
rm -f "$root"/etc/iptables/rules.v4 "$root"/etc/iptables/rules.v6

# Units that cannot work in a container, and would only fail there or disturb the host.
chroot "$root" systemctl mask systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket \
    proc-sys-fs-binfmt_misc.automount systemd-binfmt.service systemd-networkd-wait-online.service \
    getty.target console-getty.service

# Pod processes that ignore SIGTERM would hold a shutdown for 90 s.
mkdir -p "$root/etc/systemd/system.conf.d"
printf '[Manager]\nDefaultTimeoutStopSec=5s\n' >"$root/etc/systemd/system.conf.d/10-quick-stop.conf"

# In a container the version 1 hierarchy of systemd arrives mounted from outside, and runc inside then
# fails on it. On a host with the unified hierarchy there is nothing to unmount.
cat >"$root/sbin/node-init" <<'INIT'
#!/bin/sh
umount /sys/fs/cgroup/systemd/release_agent 2>/dev/null
umount /sys/fs/cgroup/systemd 2>/dev/null
# The host's kernel has these built in and a container has no modules folder: without an index of what
# is built in, modprobe and /etc/modules-load.d would fail where they succeed on a real machine.
modules=/lib/modules/$(uname -r)
if [ ! -d "$modules" ]; then
    mkdir -p "$modules"
    for module in overlay br_netfilter nf_conntrack nf_nat nf_tables ip_tables ip_set veth vxlan bridge; do
        echo "kernel/$module.ko"
    done >"$modules/modules.builtin"
    : >"$modules/modules.order"
    depmod
fi
exec /sbin/init
INIT
chmod 755 "$root/sbin/node-init"

ln -sf /usr/share/zoneinfo/Etc/UTC "$root/etc/localtime"
mkdir -p "$root/usr/share/observer-node"
chroot "$root" dpkg-query -W >"$root/usr/share/observer-node/packages"
rm -rf "$root"/var/cache/apt/*.bin "$root"/var/log/*.log "$root"/var/log/apt
