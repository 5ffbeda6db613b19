package transfer

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"posthouse/mailstore"
)

// planned is a folder and the mailbox it goes to.
type planned struct {
	Folder
	name string
}

// uses are names under which others keep the mail of a special use. They count
// only where the source does not say itself, and has no folder of our own name
// for it: two folders are never mixed into one.
var uses = map[string]mailstore.SpecialUse{
	"sent": mailstore.Sent, "sent items": mailstore.Sent, "sent messages": mailstore.Sent, "sent mail": mailstore.Sent,
	"draft": mailstore.Drafts, "drafts": mailstore.Drafts,
	"trash": mailstore.Trash, "deleted items": mailstore.Trash, "deleted messages": mailstore.Trash, "bin": mailstore.Trash,
	"junk": mailstore.Junk, "spam": mailstore.Junk, "junk e-mail": mailstore.Junk, "junk email": mailstore.Junk, "bulk mail": mailstore.Junk,
	"archive": mailstore.Archive, "archives": mailstore.Archive,
}

// plan decides where each folder goes, INBOX first. only are names of mailboxes
// here; none: all.
func plan(folders []Folder, have []mailstore.Mailbox, prefix string, only []string) []planned {
	var list []planned
	ours := map[mailstore.SpecialUse]string{}
	if prefix == "" {
		for _, m := range have {
			if m.SpecialUse != mailstore.None && ours[m.SpecialUse] == "" {
				ours[m.SpecialUse] = m.Name
			}
		}
	}
	byUse := choose(folders, ours)
	taken := map[string]bool{}
	for _, f := range folders {
		name := folderName(f.Path)
		if use, ok := byUse[f.ID]; ok {
			name = ours[use]
		}
		if prefix != "" {
			name = folderName(append(strings.Split(prefix, mailstore.Delimiter), f.Path...))
		}
		name = mailstore.CanonicalName(name)
		for taken[name] { // two that differ only in what we cannot keep
			name += "_"
		}
		taken[name] = true
		if len(only) == 0 || slices.Contains(only, name) {
			list = append(list, planned{f, name})
		}
	}
	slices.SortStableFunc(list, func(a, b planned) int {
		if x, y := a.name == "INBOX", b.name == "INBOX"; x != y {
			if x {
				return -1
			}
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	return list
}

// choose gives the folders that go to our mailbox of a special use, by id: what
// the source says first, then names; one for each use.
func choose(folders []Folder, ours map[mailstore.SpecialUse]string) map[string]mailstore.SpecialUse {
	byUse := map[string]mailstore.SpecialUse{}
	done := map[mailstore.SpecialUse]bool{}
	taken := func(f Folder, use mailstore.SpecialUse) bool {
		return slices.ContainsFunc(folders, func(o Folder) bool { return o.ID != f.ID && folderName(o.Path) == ours[use] })
	}
	pass := func(useOf func(Folder) mailstore.SpecialUse) {
		for _, f := range folders {
			use := useOf(f)
			if _, has := byUse[f.ID]; !has && use != mailstore.None && ours[use] != "" && !done[use] && !taken(f, use) {
				byUse[f.ID], done[use] = use, true
			}
		}
	}
	pass(func(f Folder) mailstore.SpecialUse { return f.Use })
	pass(func(f Folder) mailstore.SpecialUse {
		if f.Use != mailstore.None || len(f.Path) != 1 {
			return mailstore.None
		}
		return uses[strings.ToLower(f.Path[0])]
	})
	return byUse
}

// folderName makes the name of a mailbox from its levels: what names here may
// not hold (RFC 5198, our delimiter, reserved first levels) is replaced.
func folderName(path []string) string {
	var levels []string
	for _, level := range path {
		level = strings.ToValidUTF8(level, "_")
		level = strings.Map(func(r rune) rune {
			if r == '/' || unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == utf8.RuneError {
				return '_'
			}
			return r
		}, level)
		switch level {
		case "":
			continue
		case ".", "..":
			level = strings.ReplaceAll(level, ".", "_")
		}
		levels = append(levels, level)
	}
	if len(levels) == 0 {
		return "INBOX"
	}
	if levels[0] == "Other Users" || levels[0] == "Shared" {
		levels[0] += "_"
	}
	if len(levels) > mailstore.MaxLevels {
		levels = append(levels[:mailstore.MaxLevels-1:mailstore.MaxLevels-1], strings.Join(levels[mailstore.MaxLevels-1:], "_"))
	}
	name := strings.Join(levels, mailstore.Delimiter)
	for len(name) > mailstore.MaxName {
		_, n := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-n]
	}
	return strings.TrimSuffix(name, mailstore.Delimiter)
}
