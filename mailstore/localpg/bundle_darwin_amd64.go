//go:build bundlepg

package localpg

import _ "embed"

//go:embed bundle/darwin-amd64.tar.zst
var archive []byte

//go:embed bundle/darwin-amd64.sum
var archiveSum string
