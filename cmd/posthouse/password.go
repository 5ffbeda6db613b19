package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// maxPassword bounds a line of --password-stdin.
const maxPassword = 4096

// passwordFlag is embedded by commands that set a password. A password is never
// an argument: the list of processes shows those to everybody.
type passwordFlag struct {
	PasswordStdin bool `help:"Read the password from standard input instead of asking."`
}

// read gets a new password from standard input or by asking twice.
func (p passwordFlag) read(con *console, whose string) (string, error) {
	if p.PasswordStdin {
		line, err := bufio.NewReader(io.LimitReader(con.in, maxPassword)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read the password: %w", err)
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			return "", fail(exitUsage, "standard input holds no password for %s", whose)
		}
		return line, nil
	}
	in, ok := con.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", fail(exitUsage, "there is no terminal to ask for the password of %s: give it with --password-stdin", whose)
	}
	first, err := ask(con, in, "Password for "+whose+": ")
	if err != nil {
		return "", err
	}
	second, err := ask(con, in, "Once more: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", fail(exitUsage, "the two passwords differ; nothing was changed")
	}
	if first == "" {
		return "", fail(exitUsage, "the password is empty; nothing was changed")
	}
	return first, nil
}

func ask(con *console, in *os.File, prompt string) (string, error) {
	fmt.Fprint(con.err, prompt)
	line, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(con.err)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return string(line), nil
}
