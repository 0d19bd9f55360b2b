package server

import (
	"fmt"
	"os/exec"
	"strings"
)

// prepareNetwork makes the bridge that pods are plugged into; its address is the node's own. The CNI plugin
// (examples/k3s) does the rest, per pod. A sandbox lacks what the usual plugins set: hairpin mode, and some routes.
func prepareNetwork() error {
	if exec.Command("ip", "link", "show", bridgeName).Run() == nil {
		return nil // the node was restarted in a sandbox that went on
	}
	for _, arguments := range []string{
		"link set lo up",
		"link add " + bridgeName + " type bridge",
		"addr add " + nodePrefix + " dev " + bridgeName,
		"link set " + bridgeName + " up",
	} {
		output, err := exec.Command("ip", strings.Fields(arguments)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("preparing the pod network: ip %s: %w: %s", arguments, err, output)
		}
	}
	return nil
}
