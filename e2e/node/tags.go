//go:build !bundlepg

package node

// tags are those of this build: the program is built with the same.
const tags = ""
