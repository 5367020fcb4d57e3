package metatest

import (
	"fmt"
	"math"
	"slices"
)

// FaultKind is what goes wrong.
type FaultKind string

// The kinds of faults. All that are called accepted do what was asked and record it,
// though the caller cannot know.
const (
	FaultError      FaultKind = "error"       // answers Error, and does nothing
	FaultLatency    FaultKind = "latency"     // answers as ever, after Delay
	FaultReset      FaultKind = "reset"       // cuts the connection before anything is done
	FaultHTML       FaultKind = "html"        // answers 500 with a page, and does nothing
	FaultLostAnswer FaultKind = "lost_answer" // accepted, and the connection cut
	FaultSlowBody   FaultKind = "slow_body"   // accepted; the answer trickles, over Delay
	FaultMalformed  FaultKind = "malformed"   // accepted; the answer is half of its JSON
	FaultEcho       FaultKind = "echo"        // accepted; the answer quotes what the call brought: Error, or no JSON
	FaultFailed     FaultKind = "failed"      // accepted; a webhook says later that it failed with Error
)

func faultKinds() []FaultKind {
	return []FaultKind{FaultError, FaultLatency, FaultReset, FaultHTML, FaultLostAnswer, FaultSlowBody, FaultMalformed, FaultEcho, FaultFailed}
}

// Kinds of calls.
const (
	callGet      = "get"
	callSend     = "send"
	callMarkRead = "mark_read"
	callOther    = "other"

	callExchange    = "access_token" // of a code, or of a token for one that lives longer
	callDebug       = "debug_token"
	callAccounts    = "accounts"
	callPermissions = "permissions"
	callSubscribed  = "subscribed_apps"
)

// Fault is something that goes wrong with calls, of those that fit Call, Object and
// To: the Next so many of them, or a Share. Of several faults that fit a call it
// meets the first.
type Fault struct {
	ID     int         `json:"id"` // given by Inject
	Kind   FaultKind   `json:"kind"`
	Error  *GraphError `json:"error,omitempty"`
	Delay  Ms          `json:"delayMs,omitempty"` // before it, whatever its kind
	Next   int         `json:"next,omitempty"`    // how many calls are left to it
	Share  float64     `json:"share,omitempty"`   // where Next is 0: the chance of a call, until it is cleared
	Call   string      `json:"call,omitempty"`    // get, send, mark_read, access_token, debug_token, accounts, permissions, subscribed_apps; empty: any
	Object string      `json:"object,omitempty"`  // the id in the path; empty: any
	To     string      `json:"to,omitempty"`      // whom a send is to, as it names them; empty: anybody
}

func (f *Fault) check() error {
	switch {
	case !slices.Contains(faultKinds(), f.Kind):
		return fmt.Errorf("kind must be one of %v", faultKinds())
	case (f.Kind == FaultError || f.Kind == FaultFailed) && (f.Error == nil || f.Error.Code == 0):
		return fmt.Errorf("%s needs an error with its code", f.Kind)
	case f.Error != nil && f.Error.Status != 0 && (f.Error.Status < 400 || f.Error.Status > 599):
		return fmt.Errorf("status must be 400 to 599")
	case f.Next < 0 || math.IsNaN(f.Share) || f.Share < 0 || f.Share > 1 || f.Delay < 0:
		return fmt.Errorf("next and delayMs must not be negative, share must be 0 to 1")
	case f.Next == 0 && f.Share == 0:
		return fmt.Errorf("next or share must say which calls")
	}
	return nil
}

// maxFaults bounds the faults at a time.
const maxFaults = 1000

// Inject makes calls go wrong from now on, and returns the fault's id.
func (s *Server) Inject(f Fault) (id int, err error) {
	if err := f.check(); err != nil {
		return 0, fmt.Errorf("fault: %w", err)
	}
	if f.Error != nil {
		f.Error = f.Error.complete()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) == maxFaults {
		return 0, fmt.Errorf("fault: there are %d already", maxFaults)
	}
	s.nextFault++
	f.ID = s.nextFault
	s.faults = append(s.faults, &f)
	return f.ID, nil
}

// Faults are those with calls left to them.
func (s *Server) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Fault, 0, len(s.faults))
	for _, f := range s.faults {
		all = append(all, *f)
	}
	return all
}

// ClearFaults makes all go well again.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// meet is the fault that a call meets, and uses it up. The caller holds mu.
func (s *Server) meet(c *call) (met Fault) {
	for i, f := range s.faults {
		if f.Call != "" && f.Call != c.kind || f.Object != "" && f.Object != c.object || f.To != "" && f.To != c.input && f.To != c.to {
			continue
		}
		if f.Next == 0 {
			if s.random.Float64() < f.Share {
				return *f
			}
			continue
		}
		f.Next--
		met = *f
		if f.Next == 0 {
			s.faults = slices.Delete(s.faults, i, i+1)
		}
		return met
	}
	return Fault{}
}
