//go:build bundlepg

package localpg

import _ "embed"

//go:embed bundle/linux-arm64.tar.zst
var archive []byte

//go:embed bundle/linux-arm64.sum
var archiveSum string
