package localpg

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

func TestStart_PostmasterDiesWithItsOwner(t *testing.T) {
	t.Parallel()
	dir := seededDir(t)
	o := startOwner(t, dir, nil)
	o.url(t)
	if len(processes(t.Context(), dir+"/data")) == 0 {
		t.Fatal("no postmaster found")
	}
	o.kill()
	deadline := time.Now().Add(10 * time.Second)
	for len(processes(t.Context(), dir+"/data")) > 0 {
		if time.Now().After(deadline) {
			t.Fatal("the postmaster outlives its owner")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// The death signal is the forking thread's. The one that called Start ends here,
// with many more, and the postmaster must not notice.
func TestStart_PostmasterOutlivesThreads(t *testing.T) {
	t.Parallel()
	dir := seededDir(t)
	var s *Server
	var threads sync.WaitGroup
	threads.Go(func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		s = startServer(t, Config{Dir: dir})
	})
	threads.Wait()
	for range 400 {
		threads.Go(runtime.LockOSThread)
	}
	threads.Wait()
	if got := scan[int](t, admin(s), "SELECT 1"); got != 1 {
		t.Error("no answer")
	}
	select {
	case <-s.Done():
		t.Error("the postmaster has ended")
	default:
	}
}
