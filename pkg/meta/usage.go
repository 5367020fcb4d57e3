package meta

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Usage is how much is used of Meta's limits of calls, as an answer's headers say.
// Meta sends them only after enough calls.
type Usage struct {
	App      *Load          // of the app; nil where nothing is said
	Business []BusinessLoad // of accounts, at most 100
}

// Load is a use in percent of what is allowed.
type Load struct {
	Calls   int `json:"call_count"`
	Time    int `json:"total_time"`
	CPUTime int `json:"total_cputime"`
}

// BusinessLoad is the use of an account by one kind of calls.
type BusinessLoad struct {
	ID   string // of the account
	Type string // such as messenger or whatsapp
	Load
	RegainAccess time.Duration // until calls are taken again; 0 while they are
}

const (
	maxBusinessLoads = 100
	maxRegainAccess  = 30 * 24 * time.Hour
)

// RegainAccess is until when no calls are taken, in the worst of the accounts.
func (u Usage) RegainAccess() time.Duration {
	var longest time.Duration
	for _, load := range u.Business {
		longest = max(longest, load.RegainAccess)
	}
	return longest
}

// usageOf reads the headers. What is broken in them is left out.
func usageOf(header http.Header) Usage {
	var u Usage
	var app Load
	if app.read(json.RawMessage(header.Get("X-App-Usage"))) {
		u.App = &app
	}
	var accounts map[string][]json.RawMessage
	if json.Unmarshal([]byte(header.Get("X-Business-Use-Case-Usage")), &accounts) != nil {
		return u
	}
	for _, id := range slices.Sorted(maps.Keys(accounts)) {
		for _, raw := range accounts[id] {
			load := BusinessLoad{ID: bounded(id)}
			var more struct {
				Type    json.RawMessage `json:"type"`
				Minutes json.RawMessage `json:"estimated_time_to_regain_access"`
			}
			if len(u.Business) == maxBusinessLoads || !load.read(raw) || json.Unmarshal(raw, &more) != nil {
				continue
			}
			load.Type = bounded(text(more.Type))
			load.RegainAccess = min(time.Duration(count(more.Minutes))*time.Minute, maxRegainAccess)
			u.Business = append(u.Business, load)
		}
	}
	return u
}

// read says whether raw is an object; numbers in it that are none count as 0.
func (l *Load) read(raw json.RawMessage) bool {
	var object struct {
		Calls   json.RawMessage `json:"call_count"`
		Time    json.RawMessage `json:"total_time"`
		CPUTime json.RawMessage `json:"total_cputime"`
	}
	if !strings.HasPrefix(strings.TrimSpace(string(raw)), "{") || json.Unmarshal(raw, &object) != nil {
		return false
	}
	l.Calls, l.Time, l.CPUTime = count(object.Calls), count(object.Time), count(object.CPUTime)
	return true
}

// count is a number from 0 to a million, rounded up.
func count(raw json.RawMessage) int {
	var f float64
	if json.Unmarshal([]byte(strings.TrimSpace(text(raw))), &f) != nil || !(f > 0) {
		return 0
	}
	const most = 1_000_000
	if f >= most {
		return most
	}
	n := int(f)
	if float64(n) < f {
		n++
	}
	return n
}
