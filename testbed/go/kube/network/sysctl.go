package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/klog/v2"
)

// enableForwarding lets the node route for its pods.
func enableForwarding(proc string) error {
	return writeSysctl(proc, "net/ipv4/ip_forward", "1")
}

// enableBridgeFilter lets iptables see traffic between two pods on the same bridge. Without it
// network policies have no effect on such traffic, and Services fail between such pods.
func enableBridgeFilter(ctx context.Context, proc string) error {
	const key = "net/bridge/bridge-nf-call-iptables"
	if _, err := os.Stat(filepath.Join(proc, "sys", key)); errors.Is(err, os.ErrNotExist) {
		// Best effort: in a container there may be no modules, and the kernel may have it built in.
		if modprobe, err := exec.LookPath("modprobe"); err == nil {
			if out, err := exec.CommandContext(ctx, modprobe, "br_netfilter").CombinedOutput(); err != nil {
				klog.InfoS("Loading br_netfilter failed", "err", err, "output", strings.TrimSpace(string(out)))
			}
		}
	}
	return writeSysctl(proc, key, "1")
}

// writeSysctl writes only if needed: a read-only /proc with the right value is fine.
func writeSysctl(proc, key, value string) error {
	path := filepath.Join(proc, "sys", key)
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(old)) == value {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		return fmt.Errorf("set %s to %s: %w", path, value, err)
	}
	return nil
}
