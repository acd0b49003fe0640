//go:build tools

// Package tools names the etcd server that the tests run, so that its
// dependencies are pinned in go.mod and go.sum.
package tools

import _ "go.etcd.io/etcd/server/v3"
