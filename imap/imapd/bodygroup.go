package imapd

import "posthouse/mailstore"

// Bounds of a group of bodies that are read in one round trip.
const (
	groupBodies = 32
	groupBytes  = 1 << 20   // octets, in all
	groupBody   = 128 << 10 // octets, of each: larger ones are read by themselves
)

// bodyGroup gathers messages whose bodies are small, so that a FETCH of a
// thousand does not ask the database a thousand times.
type bodyGroup struct {
	f     *fetch
	rows  []*mailstore.Message
	msgs  map[*mailstore.Message]*fetched
	bytes int64
}

// write writes the response for m, or puts it off until the group is full.
func (g *bodyGroup) write(m *fetched) error {
	needed := false
	for i := range g.f.items {
		needed = needed || m.needsBody(g.f.items[i].section)
	}
	if !needed || m.row.Size > groupBody {
		if err := g.flush(); err != nil {
			return err
		}
		return g.f.write(m)
	}
	if g.msgs == nil {
		g.msgs = make(map[*mailstore.Message]*fetched)
	}
	g.rows, g.msgs[m.row], g.bytes = append(g.rows, m.row), m, g.bytes+m.row.Size
	if len(g.rows) < groupBodies && g.bytes < groupBytes {
		return nil
	}
	return g.flush()
}

// flush writes what was put off, in order.
func (g *bodyGroup) flush() error {
	if len(g.rows) == 0 {
		return nil
	}
	rows := g.rows
	g.rows, g.bytes = nil, 0
	defer clear(g.msgs)
	if len(rows) == 1 {
		return g.f.write(g.msgs[rows[0]])
	}
	return g.f.s.srv.Store.Bodies(g.f.ctx, rows, func(row *mailstore.Message, body *mailstore.BodyReader) error {
		m := g.msgs[row]
		m.body = body
		return g.f.write(m)
	})
}
