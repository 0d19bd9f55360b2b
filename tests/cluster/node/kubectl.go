package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"

	"fsmasq.test/node/server"
)

// kubectl runs kubectl's own command; arguments[0] stands where its program name is expected.
func kubectl(arguments []string) error {
	os.Args = arguments
	if os.Getenv("KUBECONFIG") == "" {
		if err := os.Setenv("KUBECONFIG", server.AdminKubeconfig); err != nil {
			return err
		}
	}
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err) // prints as kubectl does, and exits
	}
	return nil
}
