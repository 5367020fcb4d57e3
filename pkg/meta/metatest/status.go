package metatest

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/primezap/primezap/pkg/messaging"
)

// Statuses say what webhooks tell of a message that was accepted. The zero value
// tells at once that it was sent, delivered and read.
type Statuses struct {
	// Steps are what happens, in order: sent, delivered, read, played; and echo, for
	// Messenger and Instagram alone. Nil: sent, delivered, read.
	Steps   []string `json:"steps,omitempty"`
	None    bool     `json:"none,omitempty"`    // nothing is told
	Delay   Ms       `json:"delayMs,omitempty"` // before each step
	Shuffle bool     `json:"shuffle,omitempty"` // in any order
	Repeat  int      `json:"repeat,omitempty"`  // how often each is told; 0: once
	Fail    int      `json:"fail,omitempty"`    // WhatsApp: instead of all that, it failed with this code
}

// maxRepeat bounds how often the same is told.
const maxRepeat = 100

var defaultSteps = []string{"sent", "delivered", "read"}

// SetStatuses changes what is told of messages that are accepted from now on.
func (s *Server) SetStatuses(st Statuses) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.statuses = st
}

// tellStatuses queues what happens to a message on WhatsApp. The caller holds mu.
func (s *Server) tellStatuses(c *call, id string, fault Fault) {
	fail := s.statuses.Fail
	var failure *GraphError
	switch {
	case fault.Kind == FaultFailed:
		failure = fault.Error
	case c.person.Unreachable:
		failure = ErrorOf(131026)
	case s.cfg.Window && text(c.body, "type") != "template" && !s.open(c.number, c.person):
		failure = ErrorOf(131047)
	case fail != 0:
		failure = ErrorOf(fail)
	}
	steps := s.statuses.Steps
	if steps == nil {
		steps = defaultSteps
	}
	if failure != nil {
		steps = []string{"failed"}
	}
	if s.statuses.None && failure == nil {
		return
	}
	person := c.person
	if !isUserID(c.to) {
		person.WaID = c.to
	} else {
		person.Phone, person.WaID = "", ""
	}
	category := "service"
	if text(c.body, "type") == "template" {
		category = "marketing"
	}
	var bodies [][]byte
	at, priced := s.now(), false
	for _, step := range steps {
		at = at.Add(time.Duration(s.statuses.Delay))
		if step == "echo" {
			continue
		}
		st := Status{ID: id, Status: step, At: at, Opaque: text(c.body, "biz_opaque_callback_data"), Error: failure}
		// Told with sent, and once more with what comes first of the others.
		if step == "sent" || !priced && (step == "delivered" || step == "read") {
			st.Category = category
			priced = step != "sent"
		}
		bodies = append(bodies, Encode(WhatsAppHook(c.number, WhatsAppStatuses(c.number, StatusOf(person, st))), Encoding{}))
	}
	s.tell(c.number.ID+" "+c.to, bodies)
}

// window24 is how long after a person's last message all may be sent to them.
const window24 = 24 * time.Hour

// open reports whether a person has written to a number within the window. The caller
// holds mu.
func (s *Server) open(n Number, p Person) bool {
	for _, name := range []string{p.waID(), p.UserID} {
		if at, ok := s.wrote[pair{n.ID, name}]; ok && name != "" && s.now().Sub(at) < window24 {
			return true
		}
	}
	return false
}

// opens notes that a person has written to a number. The caller holds mu.
func (s *Server) opens(n Number, p Person) {
	now := s.now()
	for _, name := range []string{p.waID(), p.UserID} {
		s.wrote[pair{n.ID, name}] = now
	}
	if len(s.wrote) > maxPairs {
		maps.DeleteFunc(s.wrote, func(_ pair, at time.Time) bool { return now.Sub(at) >= window24 })
	}
}

// tellPage queues what happens to a message on Messenger or Instagram. The caller
// holds mu.
func (s *Server) tellPage(c *call, channel messaging.Channel, account, id string, message M) {
	steps := s.statuses.Steps
	if steps == nil {
		steps = defaultSteps
	}
	if s.statuses.None {
		return
	}
	var bodies [][]byte
	at := s.now()
	for _, step := range steps {
		at = at.Add(time.Duration(s.statuses.Delay))
		var item M
		switch {
		case step == "echo":
			item = PageEcho(account, c.input, at, id, s.cfg.AppID, message)
		case step == "delivered" && channel == messaging.Facebook:
			item = MessengerDelivery(c.input, account, at, id)
		case step == "read" && channel == messaging.Facebook:
			item = MessengerRead(c.input, account, at)
		case step == "read":
			item = InstagramSeen(c.input, account, at, id)
		default:
			continue
		}
		bodies = append(bodies, Encode(PageHook(channel, account, at, item), Encoding{}))
	}
	s.tell(account+" "+c.input, bodies)
}

// tell queues webhooks of a person as statuses asks. The caller holds mu.
func (s *Server) tell(person string, bodies [][]byte) {
	repeat := min(cmp.Or(s.statuses.Repeat, 1), maxRepeat)
	var all [][]byte
	for _, body := range bodies {
		all = append(all, slices.Repeat([][]byte{body}, repeat)...)
	}
	if s.statuses.Shuffle {
		s.random.Shuffle(len(all), func(i, k int) { all[i], all[k] = all[k], all[i] })
	}
	due := time.Now()
	for i, body := range all {
		if i%repeat == 0 {
			due = due.Add(time.Duration(s.statuses.Delay))
		}
		s.hooks.enqueue(hook{due: due, person: person, body: body})
	}
}

// Status is what a webhook tells of a message that was sent by WhatsApp.
type Status struct {
	ID       string
	Status   string // sent, delivered, read, played, failed
	At       time.Time
	Opaque   string      // biz_opaque_callback_data
	Category string      // of pricing; empty: nothing is told of it
	Error    *GraphError // of one that failed
}

// StatusOf is a status of a message to p.
func StatusOf(p Person, st Status) M {
	m := M{"id": st.ID, "status": st.Status, "timestamp": seconds(st.At)}
	if id := p.waID(); id != "" {
		m["recipient_id"] = id
	}
	if p.UserID != "" {
		m["recipient_user_id"] = p.UserID
	}
	if st.Opaque != "" {
		m["biz_opaque_callback_data"] = st.Opaque
	}
	if st.Category != "" {
		kind, billable := "regular", true
		if st.Category == "service" {
			kind, billable = "free_customer_service", false
		}
		m["pricing"] = M{"billable": billable, "pricing_model": "PMP", "type": kind, "category": st.Category}
	}
	if st.Error != nil {
		e := st.Error.complete()
		m["errors"] = []M{{
			"code": e.Code, "title": e.Message, "message": e.Message, "error_data": M{"details": cmp.Or(e.Details, e.Message)},
			"href": "/documentation/business-messaging/whatsapp/support/error-codes",
		}}
	}
	return m
}

// seconds is a time as WhatsApp writes it.
func seconds(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }
