package check

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// accessControl asks as a service account that may read ConfigMaps and nothing else.
func accessControl(ctx context.Context, c *cluster) (string, error) {
	token, err := c.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, "reader",
		&authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("a token for the service account reader: %w", err)
	}
	config := rest.AnonymousClientConfig(c.config)
	config.BearerToken = token.Status.Token
	reader, err := kubernetes.NewForConfig(config)
	if err != nil {
		return "", err
	}
	if _, err := reader.CoreV1().ConfigMaps(namespace).Get(ctx, "greeting", metav1.GetOptions{}); err != nil {
		return "", fmt.Errorf("what the role allows was refused: %w", err)
	}
	_, err = reader.CoreV1().Secrets(namespace).Get(ctx, "password", metav1.GetOptions{})
	if !apierrors.IsForbidden(err) {
		return "", fmt.Errorf("reading a Secret should be forbidden, but: %v", err)
	}
	return "Secret forbidden, ConfigMap read", nil
}
