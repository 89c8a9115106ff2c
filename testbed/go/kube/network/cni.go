package network

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// cniFile is the name that K3s gives its file.
const cniFile = "10-flannel.conflist"

type object = map[string]any

// conflist is the CNI configuration of a node. The bridge does not masquerade: it would hide
// pods from each other across nodes.
func conflist(podCIDR netip.Prefix) ([]byte, error) {
	config := object{
		"cniVersion": "1.0.0",
		"name":       "cbr0",
		"plugins": []object{
			{
				"type":         "bridge",
				"bridge":       "cni0",
				"isGateway":    true,
				"forceAddress": true, // the node may come back with another podCIDR
				"ipMasq":       false,
				"hairpinMode":  true,
				"ipam": object{
					"type":   "host-local",
					"ranges": [][]object{{{"subnet": podCIDR.String()}}},
					"routes": []object{{"dst": "0.0.0.0/0"}},
				},
			},
			{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	}
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), nil
}

// writeConflist writes the file if it differs. It reports whether it did.
func writeConflist(dir string, podCIDR netip.Prefix) (bool, error) {
	text, err := conflist(podCIDR)
	if err != nil {
		return false, err
	}
	path := filepath.Join(dir, cniFile)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return false, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	// The container runtime watches the directory: it must never see half a file, nor take the
	// temporary one for a configuration, which its name prevents.
	f, err := os.CreateTemp(dir, "."+cniFile+".tmp-*")
	if err != nil {
		return false, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return false, fmt.Errorf("write %s: %w", path, err)
	}
	return true, os.Rename(f.Name(), path)
}

// nodePodCIDR is the IPv4 range of a node's pods, if it has one yet.
func nodePodCIDR(n *corev1.Node) (netip.Prefix, bool) {
	for _, s := range append([]string{n.Spec.PodCIDR}, n.Spec.PodCIDRs...) {
		if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is4() {
			return p.Masked(), true
		}
	}
	return netip.Prefix{}, false
}

// nodeInternalIP is the IPv4 address under which other nodes reach a node.
func nodeInternalIP(n *corev1.Node) (netip.Addr, bool) {
	for _, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		if addr, err := netip.ParseAddr(a.Address); err == nil && addr.Is4() {
			return addr, true
		}
	}
	return netip.Addr{}, false
}
