package mailstore

import "testing"

// The bound holds, and nothing is given twice.
func TestHandover(t *testing.T) {
	var h handover
	h.put(1, []byte("one"))
	h.put(2, make([]byte, 0, 10))
	if b, ok := h.take(1); !ok || string(b) != "one" {
		t.Errorf("%q, %v", b, ok)
	}
	if _, ok := h.take(1); ok {
		t.Error("given twice")
	}
	if h.octets != 10 {
		t.Errorf("%d octets are counted, want 10", h.octets)
	}
	for i := range int64(100) {
		h.put(10+i, make([]byte, 1<<20))
		if h.octets > handoverOctets || len(h.bodies) > handoverOctets>>20+1 {
			t.Fatalf("%d bodies, %d octets", len(h.bodies), h.octets)
		}
	}
	if _, ok := h.take(109); !ok {
		t.Error("the last one is gone")
	}
	if h.clear(); h.octets != 0 || h.bodies != nil {
		t.Error("not cleared")
	}
}
