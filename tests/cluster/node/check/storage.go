package check

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fsmasq.test/node/image"
)

// What the pod `writer` writes (kept.yaml).
const (
	inVolume = 12 << 20
	inRoot   = 7 << 20
	slack    = 4 << 20 // the image's own files, and directories
)

func ephemeralStorage(ctx context.Context, c *cluster) (string, error) {
	return await(ctx, "figures of what the pod writer wrote", func() (string, error) {
		s, err := summary(ctx, c)
		if err != nil {
			return "", err
		}
		for _, pod := range s.Pods {
			if pod.PodRef.Name != "writer" || pod.EphemeralStorage == nil || pod.EphemeralStorage.UsedBytes == nil {
				continue
			}
			var volume, root uint64
			for _, v := range pod.VolumeStats {
				if v.Name == "scratch" && v.UsedBytes != nil {
					volume = *v.UsedBytes
				}
			}
			for _, container := range pod.Containers {
				if container.Rootfs != nil && container.Rootfs.UsedBytes != nil {
					root = *container.Rootfs.UsedBytes
				}
			}
			all := *pod.EphemeralStorage.UsedBytes
			seen := fmt.Sprintf("emptyDir %s, root %s, ephemeral storage %s", size(volume), size(root), size(all))
			if !near(volume, inVolume) || !near(root, inRoot) || all < inVolume+inRoot || all > inVolume+inRoot+2*slack {
				return seen, fmt.Errorf("it wrote %s and %s", size(inVolume), size(inRoot))
			}
			return seen, nil
		}
		return "", errors.New("none of its storage")
	})
}

func near(counted, written uint64) bool { return counted >= written && counted <= written+slack }

// evictions wants the kubelet to end two pods that use more storage than they may: in a volume, and in the root.
func evictions(ctx context.Context, c *cluster) (string, error) {
	var seen []string
	for _, name := range []string{"over-volume", "over-root"} {
		message, err := await(ctx, "the eviction of the pod "+name, func() (string, error) {
			pod, err := c.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return "", err
			}
			if pod.Status.Phase != corev1.PodFailed || pod.Status.Reason != "Evicted" {
				return "", fmt.Errorf("it is %s; %s", pod.Status.Phase, lastEvent(ctx, c, name))
			}
			return strings.TrimSpace(pod.Status.Message), nil
		})
		if err != nil {
			return strings.Join(seen, " "), err
		}
		seen = append(seen, message)
	}
	return strings.Join(seen, " "), nil
}

// persistentVolume reads in one pod what another, deleted by then, wrote.
func persistentVolume(ctx context.Context, c *cluster) (string, error) {
	pods := c.CoreV1().Pods(namespace)
	_, err := await(ctx, "the pod shelf-writer to succeed", func() (string, error) {
		pod, err := pods.Get(ctx, "shelf-writer", metav1.GetOptions{})
		if err == nil && pod.Status.Phase != corev1.PodSucceeded {
			err = fmt.Errorf("it is %s; %s", pod.Status.Phase, lastEvent(ctx, c, "shelf-writer"))
		}
		return "", err
	})
	if err != nil {
		return "", err
	}
	claim, err := c.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, "shelf", metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	seen := fmt.Sprintf("%s %s of %s", claim.Spec.VolumeName, claim.Status.Phase, claim.Status.Capacity.Storage())
	if claim.Status.Phase != corev1.ClaimBound || claim.Spec.VolumeName != "shelf" {
		return seen, errors.New("the claim is not bound to the volume")
	}
	if err := pods.Delete(ctx, "shelf-writer", metav1.DeleteOptions{}); err != nil {
		return seen, err
	}
	if _, err := pods.Create(ctx, shelfReader(), metav1.CreateOptions{}); err != nil {
		return seen, err
	}
	if _, err := runningPod(ctx, c, "shelf-reader"); err != nil {
		return seen, err
	}
	note, err := inPod(ctx, c, "shelf-reader", "cat", "/shelf/note")
	if err != nil {
		return seen, err
	}
	note, err = expect(note, "written by another pod")
	if err != nil {
		return seen, err
	}
	// The claim is in use until the pod is gone.
	return seen + ", " + note, pods.Delete(ctx, "shelf-reader", metav1.DeleteOptions{})
}

func shelfReader() *corev1.Pod {
	grace := int64(1)
	claim := &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "shelf"}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "shelf-reader"},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			DNSPolicy:                     corev1.DNSDefault,
			Containers: []corev1.Container{{
				Name:            "shelf-reader",
				Image:           image.Name,
				ImagePullPolicy: corev1.PullNever,
				VolumeMounts:    []corev1.VolumeMount{{Name: "shelf", MountPath: "/shelf"}},
			}},
			Volumes: []corev1.Volume{{Name: "shelf", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: claim}}},
		},
	}
}
