package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"posthouse/internal/spool"
)

// node is a JSON value and where it stands. Exactly one of the fields below
// fits its kind.
type node struct {
	up   *node  // nil at the root
	name string // within up: a member's name, or an index
	kind kind

	text    string // a string, or a number as written
	yes     bool
	list    []*node
	names   []string // of the members, in their order
	members map[string]*node
}

type kind string

const (
	isNull   kind = "null"
	isBool   kind = "a boolean"
	isNumber kind = "a number"
	isString kind = "a string"
	isList   kind = "an array"
	isObject kind = "an object"
)

const (
	maxDepth = 16
	maxName  = 200     // octets
	maxNodes = 200_000 // values in a request, some 40 MB at worst
)

// readJSON reads a body of JSON, its "content" strings left in the spool.
func readJSON(body *spool.Spool, limit int64) (*node, error) {
	t := &tree{d: json.NewDecoder(&utf8Reader{in: newSkeleton(body, limit)}), left: maxNodes}
	t.d.UseNumber()
	root, err := t.value(nil, "", 0)
	if err == nil {
		if _, extra := t.d.Token(); extra != io.EOF {
			err = errors.New("more than one value")
			if extra != nil {
				err = extra
			}
		}
	}
	switch p, ok := errors.AsType[*problem](err); {
	case err == nil:
		return root, nil
	case ok:
		return nil, p
	case errors.Is(err, errText):
		return nil, fault("too-large", "More than %d octets of JSON beside the attachments' contents", limit)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fault("malformed-json", "It ends too early")
	}
	return nil, fault("malformed-json", "%v", err)
}

type tree struct {
	d    *json.Decoder
	left int
}

func (t *tree) value(up *node, name string, depth int) (*node, error) {
	token, err := t.d.Token()
	if err != nil {
		return nil, err
	}
	if t.left--; t.left < 0 {
		return nil, fault("too-large", "More than %d values", maxNodes)
	}
	n := &node{up: up, name: name}
	switch v := token.(type) {
	case nil:
		n.kind = isNull
	case bool:
		n.kind, n.yes = isBool, v
	case json.Number:
		n.kind, n.text = isNumber, v.String()
	case string:
		n.kind, n.text = isString, v
	case json.Delim:
		if depth == maxDepth {
			return nil, fmt.Errorf("more than %d levels", maxDepth)
		}
		if v == '[' {
			n.kind = isList
			return n, t.elements(n, depth)
		}
		n.kind, n.members = isObject, make(map[string]*node)
		return n, t.fields(n, depth)
	}
	return n, nil
}

func (t *tree) elements(n *node, depth int) error {
	for t.d.More() {
		v, err := t.value(n, strconv.Itoa(len(n.list)), depth+1)
		if err != nil {
			return err
		}
		n.list = append(n.list, v)
	}
	_, err := t.d.Token()
	return err
}

func (t *tree) fields(n *node, depth int) error {
	for t.d.More() {
		token, err := t.d.Token()
		if err != nil {
			return err
		}
		name, ok := token.(string)
		if !ok || len(name) > maxName {
			return fmt.Errorf("a member with a name of more than %d octets, or none", maxName)
		}
		v, err := t.value(n, name, depth+1)
		if err != nil {
			return err
		}
		if n.members[name] != nil { // which one counts is anybody's guess
			return fmt.Errorf("%s stands twice", v.pointer())
		}
		n.names = append(n.names, name)
		n.members[name] = v
	}
	_, err := t.d.Token()
	return err
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// pointer leads to the value from the root of its request.
func (n *node) pointer() string {
	if n.up == nil {
		return ""
	}
	return n.up.pointer() + "/" + pointerEscapes.Replace(n.name)
}

// utf8Reader refuses what is not UTF-8 (RFC 8259 §8.1), where encoding/json
// would put U+FFFD.
type utf8Reader struct {
	in   io.Reader
	rest []byte // octets of a character that goes on
}

func (u *utf8Reader) Read(p []byte) (int, error) {
	n, err := u.in.Read(p)
	b := append(u.rest, p[:n]...)
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 {
			if err == nil && !utf8.FullRune(b) {
				break
			}
			return 0, errors.New("not UTF-8")
		}
		b = b[size:]
	}
	u.rest = append(u.rest[:0], b...)
	return n, err
}
