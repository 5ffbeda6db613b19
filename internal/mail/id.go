package mail

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"
)

// NewID is the id of a message, or of a session, unique over all nodes and
// sorting by time: 40 bits of milliseconds and 40 random ones, in 16 letters
// and digits.
func NewID() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(time.Now().UnixMilli())<<24)
	rand.Read(b[5:10])
	return strings.ToLower(base32.HexEncoding.EncodeToString(b[:10]))
}
