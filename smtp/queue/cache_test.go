package queue

import "testing"

// What is kept stays within its bound, whatever comes and goes.
func TestCacheIsBounded(t *testing.T) {
	var f cache
	for i := int64(1); i <= 10_000; i++ {
		f.put(i, make([]byte, 8<<10))
		if i%3 == 0 {
			f.forget(i, i-1)
		}
		if f.octets > freshOctets {
			t.Fatalf("%d octets after %d bodies", f.octets, i)
		}
	}
	if n := len(f.bodies); f.octets != n*(8<<10) || n == 0 || len(f.order) > 2*n+64 {
		t.Errorf("%d bodies, %d octets, %d in order", n, f.octets, len(f.order))
	}
	if f.get(10_000) == nil {
		t.Error("the last one is gone")
	}
	for i := int64(1); i <= 10_000; i++ {
		f.forget(i)
	}
	if len(f.bodies) != 0 || f.octets != 0 || f.order != nil {
		t.Errorf("%d bodies, %d octets are left", len(f.bodies), f.octets)
	}
}
