//go:build bundlepg

package node

const tags = "bundlepg"
