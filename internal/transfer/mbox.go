package transfer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"posthouse/mailstore"
)

// Mbox reads mbox files: one, or all below a folder (with Thunderbird's .sbd
// folders and Apple Mail's NAME.mbox/mbox). Quoted From lines are unquoted as in
// mboxrd, which undoes mboxo too where nobody wrote ">From " himself.
type Mbox struct{ files []mboxFile }

type mboxFile struct {
	file   string
	folder Folder
}

// OpenMbox opens an mbox file or a folder of them.
func OpenMbox(path string) (*Mbox, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	m := &Mbox{}
	if !info.IsDir() {
		name := mboxName(filepath.Base(path))
		if dir := filepath.Dir(path); dir == "/var/mail" || dir == "/var/spool/mail" {
			name = "INBOX"
		}
		if ok, err := isMbox(path); err != nil || !ok {
			return nil, errors.Join(err, fmt.Errorf("%s is no mbox: it does not begin with a From line", path))
		}
		m.add(path, []string{name})
		return m, nil
	}
	err = filepath.WalkDir(path, func(file string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || strings.HasSuffix(e.Name(), ".msf") {
			return err
		}
		if ok, err := isMbox(file); err != nil || !ok {
			return err
		}
		relative, err := filepath.Rel(path, file)
		if err != nil {
			return err
		}
		m.add(file, mboxPath(relative))
		return nil
	})
	if err == nil && len(m.files) == 0 {
		err = fmt.Errorf("no file below %s is an mbox", path)
	}
	return m, err
}

func (m *Mbox) add(file string, path []string) {
	m.files = append(m.files, mboxFile{file, Folder{ID: strings.Join(path, "\x00") + "\x00" + file, Path: path, Subscribed: true}})
}

// mboxPath makes folder names of a path below the folder of files.
func mboxPath(relative string) []string {
	parts := strings.Split(relative, string(filepath.Separator))
	for i := range parts[:len(parts)-1] {
		parts[i] = strings.TrimSuffix(parts[i], ".sbd")
	}
	last := len(parts) - 1
	if apple, ok := strings.CutSuffix(parts[max(last-1, 0)], ".mbox"); ok && last > 0 && parts[last] == "mbox" {
		parts, last = parts[:last], last-1
		parts[last] = apple
	}
	parts[last] = mboxName(parts[last])
	return parts
}

func mboxName(file string) string {
	name := strings.TrimSuffix(file, ".mbox")
	if strings.EqualFold(name, "inbox") || file == "mbox" {
		return "INBOX"
	}
	return name
}

func isMbox(file string) (bool, error) {
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadSlice('\n')
	if err != nil {
		return false, nil
	}
	_, ok := fromLine(line)
	return ok, nil
}

// Folders lists the files.
func (m *Mbox) Folders(context.Context) ([]Folder, error) {
	var list []Folder
	for _, f := range m.files {
		list = append(list, f.folder)
	}
	return list, nil
}

// Close does nothing: no file stays open.
func (m *Mbox) Close() error { return nil }

// A page of messages of an mbox is read before it is known which of them are
// new: their keys are made of their content.
const (
	mboxPage   = 100
	mboxOctets = 4 << 20
)

// Read gives the messages in the order of the file. Alike messages are counted:
// the second of two is imported too, and known by its number the next time.
func (m *Mbox) Read(ctx context.Context, f Folder, sink *Sink) (err error) {
	i := slices.IndexFunc(m.files, func(o mboxFile) bool { return o.folder.ID == f.ID })
	if i < 0 {
		return fmt.Errorf("no such mbox: %q", f.ID)
	}
	file, err := os.Open(m.files[i].file)
	if err != nil {
		return err
	}
	defer file.Close()
	r := &mboxReader{in: bufio.NewReaderSize(file, 64<<10)}
	seen := map[mailstore.ImportKey]int{} // about 40 octets a message
	var page []Message
	var octets int64
	defer func() {
		for i := range page {
			page[i].Body.Close()
		}
	}()
	for {
		msg, err := r.next(sink)
		ended := errors.Is(err, io.EOF)
		if err != nil && !ended {
			return fmt.Errorf("read %s: %w", m.files[i].file, err)
		}
		if !ended && msg.Body == nil {
			continue // deleted, but not compacted away yet
		}
		if !ended {
			sum := msg.Body.Sum()
			content := key("mbox", strings.Join(f.Path, "\x00"), string(sum[:]))
			seen[content]++
			msg.Key = key("mbox", string(content[:]), fmt.Sprint(seen[content]))
			page = append(page, msg)
			octets += msg.Body.Size()
		}
		if len(page) >= mboxPage || octets >= mboxOctets || ended {
			list := page
			page, octets = nil, 0
			if err := putPage(ctx, sink, list); err != nil {
				return err
			}
		}
		if ended {
			return nil
		}
	}
}

// putPage gives those messages of a page to the sink that it does not know.
func putPage(ctx context.Context, sink *Sink, page []Message) error {
	keys := make([]mailstore.ImportKey, len(page))
	for i := range page {
		keys[i] = page[i].Key
	}
	fresh, err := sink.Fresh(ctx, keys)
	put := map[int]bool{}
	for _, i := range fresh {
		if err == nil {
			put[i] = true
			err = sink.Put(ctx, page[i])
		}
	}
	for i := range page {
		if !put[i] {
			page[i].Body.Close()
		}
	}
	return err
}

// fromLine reads a separator: "From sender date". What looks like one but holds
// no date is text.
func fromLine(line []byte) (date time.Time, ok bool) {
	rest, ok := bytes.CutPrefix(bytes.TrimRight(line, "\r\n"), []byte("From "))
	if !ok || len(rest) > 1000 {
		return date, false
	}
	fields := strings.Fields(string(rest))
	for i, f := range fields { // the sender may hold spaces
		if len(f) != 3 || !slices.Contains([]string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}, f) {
			continue
		}
		text := strings.Join(fields[i:], " ")
		for _, layout := range []string{
			"Mon Jan 2 15:04:05 2006", "Mon Jan 2 15:04:05 -0700 2006", "Mon Jan 2 15:04:05 2006 -0700",
			"Mon Jan 2 15:04:05 MST 2006", "Mon Jan 2 15:04 2006", "Mon Jan 2 15:04 MST 2006",
		} {
			if t, err := time.Parse(layout, text); err == nil {
				return t, true
			}
		}
	}
	return date, false
}
