// Command node is a whole Kubernetes node in one program, shaped like k3s: one process holds etcd, the control plane
// and the kubelet, and containerd is its child. The tests put fsmasq in front of it; it knows nothing of fsmasq itself.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"fsmasq.test/node/check"
	"fsmasq.test/node/image"
	"fsmasq.test/node/server"
)

const usage = `usage: node COMMAND

  server             run the node: etcd, apiserver, controller-manager, scheduler, kubelet; containerd as a child
  kubectl ARGS…      kubectl (also when this program is called by that name)
  check PHASE        test the running node, one JSON line for each check; phases: first, kept, services, restarted
  mounts POINT       what the kernel says of a mount point, and of changes of the mount table, as JSON
  cadvisor FOLDER    what cAdvisor says to a kubelet whose directory is this one, as JSON
  controller         keep a ConfigMap in each namespace that asks for one, from within a pod
  image BUSYBOX TAR  write the image that the pods run, made of a static busybox, as an OCI archive
`

func main() {
	arguments := os.Args[1:]
	if filepath.Base(os.Args[0]) == "kubectl" {
		arguments = append([]string{"kubectl"}, arguments...)
	}
	if err := run(arguments); err != nil {
		fmt.Fprintf(os.Stderr, "node: %v\n", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 1 && arguments[0] == "server":
		return server.Run()
	case len(arguments) >= 1 && arguments[0] == "kubectl":
		return kubectl(arguments)
	case len(arguments) == 2 && arguments[0] == "check":
		return check.Run(arguments[1])
	case len(arguments) == 2 && arguments[0] == "mounts":
		return printMounts(arguments[1])
	case len(arguments) == 2 && arguments[0] == "cadvisor":
		return printFigures(arguments[1])
	case len(arguments) == 1 && arguments[0] == "controller":
		return runController()
	case len(arguments) == 3 && arguments[0] == "image":
		return image.Write(arguments[1], arguments[2])
	default:
		return fmt.Errorf("unknown arguments %q\n%s", arguments, usage)
	}
}
