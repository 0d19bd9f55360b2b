// Package image writes the one image that pods of the test node run, so that no image registry is needed.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sort"
	"strings"
)

// Name is what manifests call the image. The pod sandbox ("pause") runs it too.
const Name = "localhost/fsmasq/busybox:1"

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Write makes an OCI image archive at target: a root with the static busybox and a link for each of its applets.
func Write(busybox, target string) error {
	layer, err := layer(busybox)
	if err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config": map[string]any{
			"Env": []string{"PATH=/bin"},
			"Cmd": []string{"/bin/sleep", "2147483647"}, // the pod sandbox: waits for ever
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(layer)}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     "application/vnd.oci.image.manifest.v1+json",
		"config":        describe("application/vnd.oci.image.config.v1+json", config),
		"layers":        []descriptor{describe("application/vnd.oci.image.layer.v1.tar", layer)},
	})
	if err != nil {
		return err
	}
	entry := describe("application/vnd.oci.image.manifest.v1+json", manifest)
	entry.Annotations = map[string]string{
		"io.containerd.image.name":          Name,
		"org.opencontainers.image.ref.name": Name[strings.LastIndex(Name, ":")+1:],
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []descriptor{entry}})
	if err != nil {
		return err
	}

	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	files := map[string][]byte{
		"oci-layout":       []byte(`{"imageLayoutVersion":"1.0.0"}`),
		"index.json":       index,
		blobPath(manifest): manifest,
		blobPath(config):   config,
		blobPath(layer):    layer,
	}
	for _, name := range sortedKeys(files) {
		if err := addFile(writer, name, 0o644, files[name]); err != nil {
			return err
		}
	}
	if err := writer.Close(); err != nil {
		return err
	}
	return os.WriteFile(target, archive.Bytes(), 0o644)
}

func layer(busybox string) ([]byte, error) {
	program, err := os.ReadFile(busybox)
	if err != nil {
		return nil, fmt.Errorf("the image needs a static busybox: %w", err)
	}
	applets, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("asking %s for its applets: %w", busybox, err)
	}
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	for _, directory := range []string{"bin/", "etc/", "tmp/", "root/", "proc/", "sys/", "dev/"} {
		if err := writer.WriteHeader(&tar.Header{Name: directory, Mode: 0o755, Typeflag: tar.TypeDir}); err != nil {
			return nil, err
		}
	}
	if err := addFile(writer, "bin/busybox", 0o755, program); err != nil {
		return nil, err
	}
	for _, applet := range strings.Fields(string(applets)) {
		if applet == "busybox" {
			continue
		}
		link := &tar.Header{Name: "bin/" + applet, Linkname: "busybox", Mode: 0o777, Typeflag: tar.TypeSymlink}
		if err := writer.WriteHeader(link); err != nil {
			return nil, err
		}
	}
	accounts := "root:x:0:0:root:/root:/bin/sh\n"
	if err := addFile(writer, "etc/passwd", 0o644, []byte(accounts)); err != nil {
		return nil, err
	}
	if err := writer.Close(); err != nil { // writes the archive's end
		return nil, err
	}
	return archive.Bytes(), nil
}

func addFile(writer *tar.Writer, name string, mode int64, content []byte) error {
	header := &tar.Header{Name: name, Mode: mode, Size: int64(len(content)), Typeflag: tar.TypeReg}
	if err := writer.WriteHeader(header); err != nil {
		return err
	}
	_, err := writer.Write(content)
	return err
}

func describe(mediaType string, content []byte) descriptor {
	return descriptor{MediaType: mediaType, Digest: digest(content), Size: len(content)}
}

func digest(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

func blobPath(content []byte) string {
	return "blobs/" + strings.Replace(digest(content), ":", "/", 1)
}

func sortedKeys(files map[string][]byte) []string {
	var names []string
	for name := range files {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
