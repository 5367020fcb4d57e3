package login

// Hurry asks again at once.
func (a *App) Hurry() { a.pause = 0 }

// What is read of somebody's pages, at most.
const (
	MaxPages    = maxPages
	MaxRequests = maxRequests
	Parallel    = parallel
)
