package check

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// accessControl asks as a service account that may read ConfigMaps and pods and nothing else, and asks about it.
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
	pods, err := reader.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", fmt.Errorf("what the role allows was refused: %w", err)
	}
	_, err = reader.CoreV1().Secrets(namespace).Get(ctx, "password", metav1.GetOptions{})
	if !apierrors.IsForbidden(err) {
		return "", fmt.Errorf("reading a Secret should be forbidden, but: %v", err)
	}
	for kind, wanted := range map[string]bool{"pods": true, "secrets": false} {
		allowed, err := mayList(ctx, c, kind)
		if err != nil {
			return "", err
		}
		if allowed != wanted {
			return "", fmt.Errorf("SubjectAccessReview: listing %s is allowed: %v", kind, allowed)
		}
	}
	return fmt.Sprintf("Secret forbidden, ConfigMap and %d pods read; SubjectAccessReview says so too", len(pods.Items)), nil
}

// mayList asks the API whether the service account `reader` would be allowed to.
func mayList(ctx context.Context, c *cluster, kind string) (bool, error) {
	review, err := c.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User:               "system:serviceaccount:" + namespace + ":reader",
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "list", Resource: kind},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("SubjectAccessReview: %w", err)
	}
	return review.Status.Allowed, nil
}
