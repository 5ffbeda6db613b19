package mailstore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A hundred sessions that are woken at once read the journal two or three
// times, and none gets an answer that was read before it asked.
func TestAdvanceIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newViewCache(1 << 20)
		key := stepKey{view: &View{}}
		var clock, reads atomic.Int64
		read := func() (step, error) {
			began := clock.Add(1)
			reads.Add(1)
			time.Sleep(time.Millisecond)
			return step{view: &View{modseq: ModSeq(began)}}, nil
		}
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				time.Sleep(time.Duration(i%4) * 300 * time.Microsecond)
				asked := clock.Load()
				got, err := c.share(context.Background(), key, read)
				if err != nil || int64(got.view.modseq) <= asked {
					t.Errorf("asked at %d, answered with what was read at %d, %v", asked, got.view.modseq, err)
				}
			})
		}
		wg.Wait()
		if n := reads.Load(); n < 2 || n > 6 {
			t.Errorf("%d reads", n)
		}
		if len(c.steps) != 0 {
			t.Errorf("%d flights are left", len(c.steps))
		}
	})
}

// A reader that fails does not fail those who waited for it.
func TestSharedFailureIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newViewCache(1 << 20)
		key := stepKey{view: &View{}}
		var reads atomic.Int64
		var wg sync.WaitGroup
		var failed atomic.Int64
		for range 10 {
			wg.Go(func() {
				_, err := c.share(context.Background(), key, func() (step, error) {
					n := reads.Add(1)
					time.Sleep(time.Millisecond)
					if n <= 2 {
						return step{}, errors.New("the connection broke")
					}
					return step{view: &View{}}, nil
				})
				if err != nil {
					failed.Add(1)
				}
			})
		}
		wg.Wait()
		if failed.Load() != 2 || len(c.steps) != 0 {
			t.Errorf("%d failed, %d flights left", failed.Load(), len(c.steps))
		}
	})
}
