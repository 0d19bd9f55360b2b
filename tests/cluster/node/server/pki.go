package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// The names of the key pairs; each is a file NAME.key, and all but the service accounts' have a NAME.crt.
const (
	authority               = "ca"
	proxyAuthority          = "front-proxy-ca"
	proxyClient             = "front-proxy-client"
	serviceAccounts         = "service-accounts"
	apiserverCertificate    = "apiserver"
	apiserverClient         = "apiserver-kubelet-client"
	kubeletCertificate      = "kubelet"
	kubeletClient           = "kubelet-client"
	adminClient             = "admin"
	controllerManagerClient = "controller-manager"
	schedulerClient         = "scheduler"
)

func certificate(name string) string { return filepath.Join(pkiDir, name+".crt") }
func key(name string) string         { return filepath.Join(pkiDir, name+".key") }

// identities are the certificates that the cluster's authority signs: who they speak for, and where they may serve.
func identities() []identity {
	local := []net.IP{net.IPv4(127, 0, 0, 1), nodeIP, net.ParseIP(serviceAddress)}
	return []identity{
		{name: apiserverCertificate, user: "kube-apiserver", addresses: local,
			hosts: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}},
		{name: kubeletCertificate, user: NodeName, addresses: local, hosts: []string{NodeName}},
		{name: apiserverClient, user: "kube-apiserver-kubelet-client", group: "system:masters"},
		{name: kubeletClient, user: "system:node:" + NodeName, group: "system:nodes"},
		{name: adminClient, user: "admin", group: "system:masters"},
		{name: controllerManagerClient, user: "system:kube-controller-manager"},
		{name: schedulerClient, user: "system:kube-scheduler"},
	}
}

type identity struct {
	name, user, group string
	addresses         []net.IP
	hosts             []string
}

const validity = 365 * 24 * time.Hour

// preparePKI makes all keys and certificates at the first start, and keeps them for the next ones.
func preparePKI() error {
	if _, err := os.Stat(key(serviceAccounts)); err == nil { // written last: the rest is complete
		return nil
	}
	if err := os.MkdirAll(pkiDir, 0o700); err != nil {
		return err
	}
	if err := writeAuthority(authority, identities()); err != nil {
		return err
	}
	// An authority of its own: whoever has a certificate of it is believed when it says for whom it asks.
	aggregator := identity{name: proxyClient, user: proxyClient}
	if err := writeAuthority(proxyAuthority, []identity{aggregator}); err != nil {
		return err
	}
	_, err := writeKey(serviceAccounts)
	return err
}

// writeAuthority makes an authority, and what it signs.
func writeAuthority(name string, identities []identity) error {
	signer, err := writeKey(name)
	if err != nil {
		return err
	}
	root := template("fsmasq test "+name, "")
	root.IsCA, root.BasicConstraintsValid = true, true
	root.KeyUsage |= x509.KeyUsageCertSign
	if err := writeCertificate(name, root, root, &signer.PublicKey, signer); err != nil {
		return err
	}
	for _, id := range identities {
		private, err := writeKey(id.name)
		if err != nil {
			return err
		}
		leaf := template(id.user, id.group)
		leaf.IPAddresses, leaf.DNSNames = id.addresses, id.hosts
		leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		if len(id.addresses) > 0 {
			leaf.ExtKeyUsage = append(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		}
		if err := writeCertificate(id.name, leaf, root, &private.PublicKey, signer); err != nil {
			return err
		}
	}
	return nil
}

func template(user, group string) *x509.Certificate {
	subject := pkix.Name{CommonName: user}
	if group != "" {
		subject.Organization = []string{group}
	}
	return &x509.Certificate{
		Subject:      subject,
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		NotBefore:    time.Now().Add(-time.Hour), // clocks of sandbox and machine may differ a little
		NotAfter:     time.Now().Add(validity),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

func writeKey(name string) (*ecdsa.PrivateKey, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	encoded, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return nil, err
	}
	return private, writePEM(key(name), "EC PRIVATE KEY", encoded)
}

func writeCertificate(name string, leaf, parent *x509.Certificate, public *ecdsa.PublicKey, signer *ecdsa.PrivateKey) error {
	encoded, err := x509.CreateCertificate(rand.Reader, leaf, parent, public, signer)
	if err != nil {
		return fmt.Errorf("signing the certificate %s: %w", name, err)
	}
	return writePEM(certificate(name), "CERTIFICATE", encoded)
}

func writePEM(path, kind string, content []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600)
}
