package server

import "net"

// Where the node keeps what it writes. The kubelet's and containerd's directories have their usual places, because
// the test mounts file systems of their own there.
const (
	stateDir      = "/var/lib/node" // etcd, keys, kubeconfigs: survives a restart
	pkiDir        = stateDir + "/pki"
	etcdDir       = stateDir + "/etcd"
	kubeletConfig = stateDir + "/kubelet.yaml"
	imagesDir     = stateDir + "/images" // archives found here are imported at every start
	kubeletDir    = "/var/lib/kubelet"

	containerdConfig = "/etc/containerd/config.toml"
	containerdSocket = "/run/containerd/containerd.sock"
	containerdLog    = "/var/log/containerd.log"
	snapshotter      = "native" // as in containerd.toml

	// AdminKubeconfig gives all rights on the cluster; kubectl and the checks use it.
	AdminKubeconfig = stateDir + "/admin.kubeconfig"
)

// NodeName is the one node's name.
const NodeName = "node"

const (
	bridgeName     = "cni0"
	podCIDR        = "10.42.0.0/24"
	serviceCIDR    = "10.43.0.0/16"
	serviceAddress = "10.43.0.1" // the service `kubernetes`
	apiPort        = 6443
	etcdURL        = "http://127.0.0.1:2379"
	etcdPeerURL    = "http://127.0.0.1:2380"
	logVerbosity   = 1 // one value for all components: they share one logging configuration
)

// nodeIP is the bridge's address, so that pods reach the node and the node needs no other interface.
var nodeIP = net.IPv4(10, 42, 0, 1)

const nodePrefix = "10.42.0.1/24"
