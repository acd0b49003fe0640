//go:build tools

// Package tools names the Helm client that the tests run, so that its
// dependencies are pinned in go.mod and go.sum.
package tools

import _ "helm.sh/helm/v4/cmd/helm"
