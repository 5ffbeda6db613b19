//go:build !bundlepg || !((linux || darwin) && (amd64 || arm64))

package localpg

// archive is empty: this binary was built without the bundle.
var archive []byte

const archiveSum = ""
