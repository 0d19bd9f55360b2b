package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"k8s.io/kubernetes/pkg/kubelet/cadvisor"
)

// figures are those that the kubelet asks cAdvisor for before it starts anything; without them it ends.
type figures struct {
	Cores       int    `json:"cores"`
	Memory      uint64 `json:"memory"`      // of the machine, in bytes
	Filesystems int    `json:"filesystems"` // partitions that cAdvisor knows
	Device      string `json:"device"`      // of the directory
	Capacity    uint64 `json:"capacity"`    // of its file system, in bytes
	Available   uint64 `json:"available"`
	Inodes      uint64 `json:"inodes"`
}

// cAdvisor's first sample of the root container takes a moment.
const samplePatience = 20 * time.Second

// printFigures starts cAdvisor as the kubelet does, for a kubelet whose directory is this one.
func printFigures(directory string) error {
	client, err := cadvisor.New(cadvisor.NewImageFsInfoProvider("unix:///run/containerd/containerd.sock"), directory,
		[]string{"/kubepods"}, false, true)
	if err != nil {
		return fmt.Errorf("making cAdvisor's manager: %w", err)
	}
	if err := client.Start(); err != nil {
		return fmt.Errorf("starting cAdvisor's manager: %w", err)
	}
	machine, err := client.MachineInfo()
	if err != nil {
		return fmt.Errorf("machine info: %w", err)
	}
	said := figures{Cores: machine.NumCores, Memory: machine.MemoryCapacity, Filesystems: len(machine.Filesystems)}
	root, err := client.RootFsInfo()
	for deadline := time.Now().Add(samplePatience); err != nil && time.Now().Before(deadline); root, err = client.RootFsInfo() {
		time.Sleep(200 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("file system of %s: %w", directory, err)
	}
	said.Device, said.Capacity, said.Available = root.Device, root.Capacity, root.Available
	if root.Inodes != nil {
		said.Inodes = *root.Inodes
	}
	return json.NewEncoder(os.Stdout).Encode(said)
}
