// Package rateheader tells clients how much of a limit is left, in headers as the
// IETF's draft on them has it (draft-ietf-httpapi-ratelimit-headers).
package rateheader

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Limit is one limit, and where it stands.
type Limit struct {
	Name   string
	Quota  int64
	Window time.Duration // that the quota is for; 0 where it is for no time
	Left   int64
	Whole  time.Duration // until the quota is whole again, where it is for a time
}

// Policy is the value of RateLimit-Policy: what the limits are.
func Policy(limits ...Limit) string {
	items := make([]string, len(limits))
	for i, l := range limits {
		items[i] = fmt.Sprintf("%q;q=%d", l.Name, l.Quota)
		if l.Window > 0 {
			items[i] += fmt.Sprintf(";w=%d", seconds(l.Window))
		}
	}
	return strings.Join(items, ", ")
}

// State is the value of RateLimit: what is left of them.
func State(limits ...Limit) string {
	items := make([]string, len(limits))
	for i, l := range limits {
		items[i] = fmt.Sprintf("%q;r=%d", l.Name, l.Left)
		if l.Window > 0 {
			items[i] += fmt.Sprintf(";t=%d", seconds(l.Whole))
		}
	}
	return strings.Join(items, ", ")
}

// Header is both.
func Header(limits ...Limit) http.Header {
	header := make(http.Header)
	header.Set("RateLimit-Policy", Policy(limits...))
	header.Set("RateLimit", State(limits...))
	return header
}

// seconds are whole ones: nobody comes too early.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
