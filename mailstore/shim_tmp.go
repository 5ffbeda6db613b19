package mailstore

import "context"

func (s *Store) runSweeper(ctx context.Context) { <-ctx.Done() }
