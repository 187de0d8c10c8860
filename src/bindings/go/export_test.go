package oncelog

// WaitAsForAServer makes calls run as those of a store at an address do: where the context can end, in a goroutine that
// may outlive it.
func (s *Store) WaitAsForAServer() { s.remote = true }
