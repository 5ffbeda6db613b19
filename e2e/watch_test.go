package e2e

import (
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"

	"posthouse/e2e/node"
)

// exists sends on what EXISTS says.
func exists(c chan<- uint32) *imapclient.UnilateralDataHandler {
	return &imapclient.UnilateralDataHandler{Mailbox: func(data *imapclient.UnilateralDataMailbox) {
		if data.NumMessages != nil {
			c <- *data.NumMessages
		}
	}}
}

// await waits until EXISTS says n.
func await(t *testing.T, c <-chan uint32, n uint32) {
	t.Helper()
	deadline := time.After(node.Patience)
	for {
		select {
		case got := <-c:
			if got == n {
				return
			}
		case <-deadline:
			t.Fatalf("no EXISTS with %d within %s", n, node.Patience)
		}
	}
}
