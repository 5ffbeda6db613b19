package child

import (
	"os/exec"
	"syscall"
)

// die has the child end with the thread that forks it.
func die(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
}
