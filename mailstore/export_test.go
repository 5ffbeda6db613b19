package mailstore

// ForgetViews empties the cache of views.
func (s *Store) ForgetViews() { s.views = newViewCache(s.opt.ViewBytes) }
