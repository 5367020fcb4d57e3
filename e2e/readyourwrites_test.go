package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
)

// TestReadYourWrites changes a webhook through one api and publishes through
// another: the event must meet the change, whatever a worker remembers.
func TestReadYourWrites(t *testing.T) {
	t.Parallel()
	sys := start(t, setup{APIs: 2, Workers: 2})
	for _, fault := range changeAndPublish(t, sys, 200) {
		t.Error(fault)
	}
}

// TestReadYourWrites_FindsStaleCopies is the test of that test: workers that
// trust their copy of the webhooks must not pass it.
func TestReadYourWrites_FindsStaleCopies(t *testing.T) {
	t.Parallel()
	sys := start(t, setup{APIs: 2, Workers: 2, WorkerEnv: []string{"PRIMEZAP_MUTATION=stale"}})
	faults := changeAndPublish(t, sys, 40)
	if len(faults) == 0 {
		t.Error("workers that do not ask for changes pass the test of reading one's writes")
	}
	t.Logf("%d faults, such as: %v", len(faults), faults[:min(3, len(faults))])
}

// round is one change and what an event that is published after it must meet.
type round struct {
	change string
	event  string
	want   map[*endpoint]string // who gets it, signed with which secret
}

// changeAndPublish makes rounds of a change through one api, answered, and a
// publish through the other. It returns every delivery that is missing, too
// many, or signed with another secret than the current one.
func changeAndPublish(t *testing.T, sys *system, rounds int) (faults []string) {
	t.Helper()
	tenant, r := sys.Tenant(), newReceiver(t)
	// A webhook that nobody changes: once it has an event, that event is matched,
	// and a later change is none of its business.
	control := r.Endpoint()
	tenant.Subscribe(control, "*")
	hook := &changing{tenant: tenant, receiver: r}
	published := make(map[string]round, rounds) // by event
	for i := range rounds {
		change, publish := sys.APIs[i%2], sys.APIs[(i+1)%2]
		hook.tenant = tenant.Via(change)
		done := round{change: fmt.Sprintf("round %d, %s", i, hook.step()), event: hook.publishes, want: maps.Clone(hook.wants())}
		id := tenant.Via(publish).Publish(done.event)
		published[id] = done
		control.AwaitEvent(t, id, 1, soon)
	}
	sys.AwaitIdle(soon)

	for id, round := range published {
		for n, e := range hook.endpoints {
			secret, wanted := round.want[e]
			got := e.Of(id)
			switch {
			case !wanted && len(got) > 0:
				faults = append(faults, fmt.Sprintf("after %s: stale delivery of %s to endpoint %d", round.change, id, n))
			case wanted && len(got) != 1:
				faults = append(faults, fmt.Sprintf("after %s: %d deliveries of %s to endpoint %d, want one", round.change, len(got), id, n))
			case wanted:
				if err := got[0].VerifyAlone(secret); err != nil {
					faults = append(faults, fmt.Sprintf("after %s: %s: %v", round.change, id, err))
				}
			}
		}
	}
	slices.Sort(faults)
	return faults
}

// changing is a webhook that goes through every kind of change, over and over.
type changing struct {
	tenant    *client
	receiver  *receiver
	endpoints []*endpoint // every one it ever had

	steps     int
	secrets   int
	publishes string // the type of the event that follows

	id     string
	at     *endpoint
	secret string
	gets   bool // active, and subscribed to what is published
}

// wants is who must get an event that is published now.
func (c *changing) wants() map[*endpoint]string {
	if !c.gets {
		return nil
	}
	return map[*endpoint]string{c.at: c.secret}
}

// step makes the next change and says what it was.
func (c *changing) step() string {
	changes := []struct {
		name string
		make func()
	}{
		{"create", func() {
			c.move()
			c.renew()
			c.id = c.tenant.Create(webhookInput{URL: c.at.URL, Events: []string{"deal.moved"}, Secret: c.secret}).ID
			c.publishes, c.gets = "deal.moved", true
		}},
		{"change of the secret", func() { c.renew(); c.tenant.Patch(c.id, map[string]any{"secret": c.secret}) }},
		{"regeneration of the secret", func() { c.secret = c.tenant.Regenerate(c.id, 0) }},
		{"change of the URL", func() { c.move(); c.tenant.Patch(c.id, map[string]any{"url": c.at.URL}) }},
		{"unsubscribe", func() {
			c.tenant.Patch(c.id, map[string]any{"events": []string{"contact.created"}})
			c.gets = false
		}},
		{"subscribe to a prefix", func() { c.tenant.Patch(c.id, map[string]any{"events": []string{"deal.*"}}); c.gets = true }},
		{"a filter", func() {
			c.tenant.Patch(c.id, map[string]any{"filter": map[string]any{"never": map[string]any{"$exist": true}}})
			c.gets = false
		}},
		{"no filter", func() { c.tenant.Patch(c.id, map[string]any{"filter": nil}); c.gets = true }},
		{"deactivate", func() { c.tenant.Patch(c.id, map[string]any{"active": false}); c.gets = false }},
		{"activate", func() { c.tenant.Patch(c.id, map[string]any{"active": true}); c.gets = true }},
		{"deactivate again", func() { c.tenant.Patch(c.id, map[string]any{"active": false}); c.gets = false }},
		{"enable", func() {
			c.tenant.call(http.MethodPost, "/api/custom-webhooks/"+c.id+"/enable", nil, http.StatusOK, nil)
			c.gets = true
		}},
		{"replace", func() {
			c.move()
			c.renew()
			c.tenant.Replace(c.id, webhookInput{URL: c.at.URL, Events: []string{"message.sent"}, Secret: c.secret})
			c.publishes = "message.sent"
		}},
		{"delete", func() { c.tenant.Delete(c.id); c.gets = false }},
	}
	change := changes[c.steps%len(changes)]
	c.steps++
	change.make()
	return change.name
}

// move takes a new endpoint.
func (c *changing) move() {
	c.at = c.receiver.Endpoint()
	c.endpoints = append(c.endpoints, c.at)
}

// renew takes a new secret.
func (c *changing) renew() {
	c.secrets++
	c.secret = fmt.Sprintf("the secret of number %04d", c.secrets)
}
