package smtpd

import (
	"fmt"
	"runtime/debug"
)

// contain, deferred, makes a panic the end of this connection alone. go-smtp
// does so with those in the commands that it runs; the guard works where go-smtp
// reads and writes, and there a panic would end the process.
func (c *conn) contain(err *error) {
	p := recover()
	if p == nil {
		return
	}
	c.log.Error("panic in an SMTP session", "event", "smtp.panic", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	*err = errSevered
	c.abort("421 4.3.0 Internal error")
}
