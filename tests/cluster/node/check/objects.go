package check

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

//go:embed objects.yaml
var objects string

func createObjects(ctx context.Context, c *cluster) (string, error) {
	documents := strings.Split(objects, "\n---\n")
	for _, document := range documents {
		object, kind, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(document), nil, nil)
		if err != nil {
			return "", fmt.Errorf("reading the manifest %.60q…: %w", document, err)
		}
		// Pods are refused until the controller manager has made the namespace's default service account.
		_, err = await(ctx, "the creation of a "+kind.Kind, func() (string, error) { return "", create(ctx, c, object) })
		if err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d objects", len(documents)), nil
}

func create(ctx context.Context, c *cluster, object runtime.Object) error {
	var err error
	options := metav1.CreateOptions{}
	switch o := object.(type) {
	case *corev1.Namespace:
		_, err = c.CoreV1().Namespaces().Create(ctx, o, options)
	case *corev1.ConfigMap:
		_, err = c.CoreV1().ConfigMaps(o.Namespace).Create(ctx, o, options)
	case *corev1.Secret:
		_, err = c.CoreV1().Secrets(o.Namespace).Create(ctx, o, options)
	case *corev1.ServiceAccount:
		_, err = c.CoreV1().ServiceAccounts(o.Namespace).Create(ctx, o, options)
	case *rbacv1.Role:
		_, err = c.RbacV1().Roles(o.Namespace).Create(ctx, o, options)
	case *rbacv1.RoleBinding:
		_, err = c.RbacV1().RoleBindings(o.Namespace).Create(ctx, o, options)
	case *corev1.ResourceQuota:
		_, err = c.CoreV1().ResourceQuotas(o.Namespace).Create(ctx, o, options)
	case *corev1.LimitRange:
		_, err = c.CoreV1().LimitRanges(o.Namespace).Create(ctx, o, options)
	case *corev1.Pod:
		_, err = c.CoreV1().Pods(o.Namespace).Create(ctx, o, options)
	default:
		return fmt.Errorf("objects.yaml has a %T, which this function does not create yet", object)
	}
	return err
}
