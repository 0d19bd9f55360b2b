package server

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

//go:embed files
var files embed.FS

// prepareFiles writes what the parts of the node read: keys, kubeconfigs, configurations.
func prepareFiles() error {
	for _, directory := range []string{stateDir, kubeletDir, "/var/log"} {
		if err := os.MkdirAll(directory, 0o755); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(etcdDir, 0o700); err != nil { // etcd insists on this mode
		return err
	}
	if err := preparePKI(); err != nil {
		return fmt.Errorf("making keys and certificates in %s: %w", pkiDir, err)
	}
	for _, user := range []string{adminClient, kubeletClient, controllerManagerClient, schedulerClient} {
		if err := writeKubeconfig(user); err != nil {
			return fmt.Errorf("writing %s: %w", kubeconfig(user), err)
		}
	}
	for _, file := range []struct {
		name, target string
		mode         os.FileMode
	}{
		{"kubelet.yaml", kubeletConfig, 0o644},
		{"containerd.toml", containerdConfig, 0o644},
	} {
		content, err := files.ReadFile("files/" + file.name)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(file.target), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file.target, content, file.mode); err != nil {
			return err
		}
	}
	return nil
}

func kubeconfig(user string) string { return filepath.Join(stateDir, user+".kubeconfig") }

func writeKubeconfig(user string) error {
	config := clientcmdapi.NewConfig()
	config.Clusters[NodeName] = &clientcmdapi.Cluster{
		Server:               apiURL(),
		CertificateAuthority: certificate(authority),
	}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificate: certificate(user), ClientKey: key(user)}
	config.Contexts[user] = &clientcmdapi.Context{Cluster: NodeName, AuthInfo: user}
	config.CurrentContext = user
	return clientcmd.WriteToFile(*config, kubeconfig(user))
}

func apiURL() string { return fmt.Sprintf("https://127.0.0.1:%d", apiPort) }
