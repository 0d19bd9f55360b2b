package server

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	apiserveroptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	controllermanageroptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// components holds the four Kubernetes programs before they run. Only the kubelet is run through its command line
// program: each of the others would install its own handler of signals, and a process may have only one.
type components struct {
	apiserver         *apiserveroptions.ServerRunOptions
	controllerManager *controllermanageroptions.KubeControllerManagerOptions
	scheduler         *scheduleroptions.Options
	kubelet           *cobra.Command
}

// configureComponents makes all four before any flag is parsed: their constructors set defaults of feature gates,
// which is refused once a gate was read.
func configureComponents(ctx context.Context) (*components, error) {
	manager, err := controllermanageroptions.NewKubeControllerManagerOptions()
	if err != nil {
		return nil, fmt.Errorf("default options of the controller manager: %w", err)
	}
	// The controller manager's flags come first for the same reason: listing them changes a default, too.
	managerFlags := manager.Flags(controllermanager.KnownControllers(),
		controllermanager.ControllersDisabledByDefault(), controllermanager.ControllerAliases())
	c := &components{
		controllerManager: manager,
		kubelet:           kubelet.NewKubeletCommand(ctx),
		apiserver:         apiserveroptions.NewServerRunOptions(),
		scheduler:         scheduleroptions.NewOptions(),
	}
	for _, program := range []struct {
		name  string
		flags cliflag.NamedFlagSets
		given []string
	}{
		{"kube-apiserver", c.apiserver.Flags(), apiserverFlags()},
		{"kube-controller-manager", managerFlags, controllerManagerFlags()},
		{"kube-scheduler", *c.scheduler.Flags, schedulerFlags()},
	} {
		flags := pflag.NewFlagSet(program.name, pflag.ContinueOnError)
		for _, set := range program.flags.FlagSets {
			flags.AddFlagSet(set)
		}
		if err := flags.Parse(append(program.given, fmt.Sprintf("--v=%d", logVerbosity))); err != nil {
			return nil, fmt.Errorf("flags of %s: %w", program.name, err)
		}
	}
	c.kubelet.SetArgs(kubeletFlags())
	if err := manager.ComponentGlobalsRegistry.Set(); err != nil { // feature gates, shared by all
		return nil, err
	}
	return c, logsapi.ValidateAndApply(c.apiserver.Logs, utilfeature.DefaultFeatureGate)
}

func (c *components) runAPIServer(ctx context.Context) error {
	completed, err := c.apiserver.Complete(ctx)
	if err != nil {
		return err
	}
	if failures := completed.Validate(); len(failures) != 0 {
		return utilerrors.NewAggregate(failures)
	}
	return apiserver.Run(ctx, completed)
}

func (c *components) runControllerManager(ctx context.Context) error {
	config, err := c.controllerManager.Config(ctx, controllermanager.KnownControllers(),
		controllermanager.ControllersDisabledByDefault(), controllermanager.ControllerAliases())
	if err != nil {
		return err
	}
	return controllermanager.Run(ctx, config.Complete())
}

func (c *components) runScheduler(ctx context.Context) error {
	config, instance, err := scheduler.Setup(ctx, c.scheduler)
	if err != nil {
		return err
	}
	return scheduler.Run(ctx, config, instance)
}

func (c *components) runKubelet(ctx context.Context) error { return c.kubelet.ExecuteContext(ctx) }

func apiserverFlags() []string {
	return []string{
		"--etcd-servers=" + etcdURL,
		fmt.Sprintf("--secure-port=%d", apiPort),
		"--advertise-address=" + nodeIP.String(),
		"--service-cluster-ip-range=" + serviceCIDR,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--client-ca-file=" + certificate(authority),
		"--tls-cert-file=" + certificate(apiserverCertificate),
		"--tls-private-key-file=" + key(apiserverCertificate),
		"--kubelet-certificate-authority=" + certificate(authority),
		"--kubelet-client-certificate=" + certificate(apiserverClient),
		"--kubelet-client-key=" + key(apiserverClient),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + key(serviceAccounts),
		"--service-account-signing-key-file=" + key(serviceAccounts),
		// For APIs that a pod serves, as the metrics server does; without kube-proxy a Service's address leads nowhere.
		"--enable-aggregator-routing=true",
		"--proxy-client-cert-file=" + certificate(proxyClient),
		"--proxy-client-key-file=" + key(proxyClient),
		"--requestheader-client-ca-file=" + certificate(proxyAuthority),
		"--requestheader-allowed-names=" + proxyClient,
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
	}
}

func controllerManagerFlags() []string {
	return []string{
		"--kubeconfig=" + kubeconfig(controllerManagerClient),
		"--leader-elect=false",
		"--secure-port=0",
		// Its CSI plugin and the kubelet's share a variable in one process; if this controller came last, the kubelet
		// would not know its node's name, and never be Ready. It has nothing to do without CSI drivers.
		"--controllers=*,-persistentvolume-attach-detach-controller",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + key(serviceAccounts),
		"--root-ca-file=" + certificate(authority),
		"--cluster-signing-cert-file=" + certificate(authority),
		"--cluster-signing-key-file=" + key(authority),
		"--horizontal-pod-autoscaler-sync-period=5s", // a test does not want to wait for the usual 15
	}
}

func schedulerFlags() []string {
	return []string{
		"--kubeconfig=" + kubeconfig(schedulerClient),
		"--leader-elect=false",
		"--secure-port=0",
	}
}

func kubeletFlags() []string {
	return []string{
		"--config=" + kubeletConfig,
		"--kubeconfig=" + kubeconfig(kubeletClient),
		"--hostname-override=" + NodeName,
		"--node-ip=" + nodeIP.String(),
		"--root-dir=" + kubeletDir,
		"--cert-dir=" + filepath.Join(stateDir, "kubelet-pki"),
		fmt.Sprintf("--v=%d", logVerbosity),
	}
}
