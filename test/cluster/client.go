package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"
)

// Kubectl runs kubectl with all rights, and returns what it prints.
func (c *Cluster) Kubectl(ctx context.Context, input string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.program, append([]string{"kubectl", "-dir", c.dir}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("kubectl %q: %w: %s", args, err, errs.String())
	}
	return out.String(), nil
}

// Apply applies manifests.
func (c *Cluster) Apply(ctx context.Context, manifests string) error {
	_, err := c.Kubectl(ctx, manifests, "apply", "-f", "-")
	return err
}

// ApplyRBAC applies the ServiceAccount of a kustomization and its rights, and nothing else of it. It returns the ServiceAccount.
func (c *Cluster) ApplyRBAC(ctx context.Context, kustomization string) (account types.NamespacedName, err error) {
	objects, err := c.Kubectl(ctx, "", "kustomize", kustomization)
	if err != nil {
		return account, err
	}
	var rbac []string
	for object := range strings.SplitSeq(objects, "\n---\n") {
		var head metav1.PartialObjectMetadata
		if err := yaml.Unmarshal([]byte(object), &head); err != nil {
			return account, fmt.Errorf("%s: %w", kustomization, err)
		}
		switch head.Kind {
		case "ServiceAccount":
			account = types.NamespacedName{Namespace: head.Namespace, Name: head.Name}
		case "ClusterRole", "ClusterRoleBinding":
		default:
			continue
		}
		rbac = append(rbac, object)
	}
	if account.Name == "" {
		return account, fmt.Errorf("%s has no ServiceAccount", kustomization)
	}
	return account, c.Apply(ctx, strings.Join(rbac, "\n---\n"))
}

// Token returns a new token of a ServiceAccount, which is good for a day.
func (c *Cluster) Token(ctx context.Context, account types.NamespacedName) (string, error) {
	seconds := int64(24 * 60 * 60)
	request, err := c.Client.CoreV1().ServiceAccounts(account.Namespace).CreateToken(ctx, account.Name,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return request.Status.Token, nil
}

// TokenFile returns the file of the token that a kubeconfig of WriteCredentials names.
func TokenFile(kubeconfig string) string { return kubeconfig + ".token" }

// WriteCredentials writes a kubeconfig for an account, and a new token of it, which is read again when it changes. server is the
// URL to reach the API server by: Config.Host, or that of something between.
func (c *Cluster) WriteCredentials(ctx context.Context, kubeconfig, server string, account types.NamespacedName) error {
	token, err := c.Token(ctx, account)
	if err != nil {
		return err
	}
	if err := os.WriteFile(TokenFile(kubeconfig), []byte(token), 0o600); err != nil {
		return err
	}
	return clientcmd.WriteToFile(*c.kubeconfig(server, clientcmdapi.AuthInfo{TokenFile: TokenFile(kubeconfig)}), kubeconfig)
}

// Manifests returns those in the files that match patterns, without the EndpointSlices that say that the control plane has made
// them: here it makes them itself.
func Manifests(patterns ...string) (string, error) {
	var objects []string
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err == nil && len(files) == 0 {
			err = os.ErrNotExist
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", pattern, err)
		}
		for _, file := range files {
			manifests, err := os.ReadFile(file)
			if err != nil {
				return "", err
			}
			for object := range strings.SplitSeq(string(manifests), "\n---\n") {
				var head metav1.PartialObjectMetadata
				if err := yaml.Unmarshal([]byte(object), &head); err != nil {
					return "", fmt.Errorf("%s: %w", file, err)
				}
				if head.Labels[discovery.LabelManagedBy] != "endpointslice-controller.k8s.io" {
					objects = append(objects, object)
				}
			}
		}
	}
	return strings.Join(objects, "\n---\n"), nil
}
