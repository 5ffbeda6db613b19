package transfer

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// This file reads what Dovecot keeps beside the messages of a Maildir.

// subscriptions reads Dovecot's list; nil where there is none.
func (m *Maildir) subscriptions() (map[string]bool, error) {
	data, err := os.ReadFile(filepath.Join(m.root, "subscriptions"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the subscriptions: %w", err)
	}
	list := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "V\t") {
			continue
		}
		separators := "\t/"
		if !strings.ContainsAny(line, separators) {
			separators = "." // version 1 joins with the layout's own
		}
		var levels []string
		for _, level := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(separators, r) }) {
			levels = append(levels, decodeLevel(level))
		}
		list[strings.Join(levels, "\x00")] = true
	}
	return list, nil
}

// dovecotKeywords reads the names of a folder's keywords, by letter.
func dovecotKeywords(dir string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(dir, "dovecot-keywords"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the keywords: %w", err)
	}
	names := make([]string, 26)
	for line := range strings.Lines(string(data)) {
		number, name, ok := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.Atoi(number); ok && err == nil && n >= 0 && n < len(names) {
			names[n] = name
		}
	}
	return names, nil
}

// dovecotID is what Dovecot knows of a message.
type dovecotID struct {
	uid  uint32
	pop3 string
}

// dovecotUIDs reads dovecot-uidlist (version 3, and the bare lines of version
// 1): the UIDs, and the UIDLs that POP3 clients know where they are not made of
// them.
func dovecotUIDs(dir string) (map[string]dovecotID, error) {
	file, err := os.Open(filepath.Join(dir, "dovecot-uidlist"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the UID list: %w", err)
	}
	defer file.Close()
	ids := map[string]dovecotID{}
	lines := bufio.NewScanner(file)
	for first := true; lines.Scan(); first = false {
		if first {
			continue // version and allocators
		}
		before, name, ok := strings.Cut(lines.Text(), " :")
		fields := strings.Fields(before)
		if !ok { // version 1: "uid name"
			if fields = strings.Fields(lines.Text()); len(fields) != 2 {
				continue
			}
			name = fields[1]
		}
		if len(fields) == 0 {
			continue
		}
		uid, err := strconv.ParseUint(fields[0], 10, 32)
		if err != nil {
			continue // torn by a crash: the rest is still worth having
		}
		id := dovecotID{uid: uint32(uid)}
		for _, f := range fields[1:] {
			if pop3, ok := strings.CutPrefix(f, "P"); ok && before != "" {
				id.pop3 = pop3
			}
		}
		if i := strings.LastIndexAny(name, ":;!"); i >= 0 {
			name = name[:i]
		}
		ids[name] = id
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the UID list: %w", err)
	}
	return ids, nil
}
