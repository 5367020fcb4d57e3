package bus_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/localnats"
)

func TestUsers_MayDoTheirWork(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	// The api's: see also what the tests of Publish, Check and FirstSince do as it.
	publish(t, a.api, inClass(bus.Live, "l1"), inClass(bus.Bulk, "b2"))
	if err := bus.Check(t.Context(), a.api); err != nil {
		t.Error(err)
	}
	r := reader(t, a.api)
	if _, err := r.Event(t.Context(), r.Epoch(), 2, tenant, "b2"); err != nil {
		t.Error(err)
	}
	// The worker answers a test call, once; the answer is the caller's alone.
	calls, err := a.worker.Conn().QueueSubscribe(bus.SubjectTest, "worker", func(msg *nats.Msg) { _ = msg.Respond(append([]byte("re: "), msg.Data...)) })
	if err != nil {
		t.Fatal(err)
	}
	if err := a.worker.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	answer, err := a.api.Conn().Request(bus.SubjectTest, []byte("call"), 10*time.Second)
	if err != nil || string(answer.Data) != "re: call" {
		t.Errorf("a test call: %v, %v", answer, err)
	}
	if err := calls.Unsubscribe(); err != nil {
		t.Error(err)
	}
	if err := a.worker.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.api.Conn().Request(bus.SubjectTest, nil, 10*time.Second); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("a test call without workers: %v, want to hear at once", err)
	}
	// The worker's: take, hold, give back, end; the outbox; what is poisoned.
	for _, name := range names {
		c, err := a.worker.Consumer(t.Context(), bus.StreamEvents, name)
		if err != nil {
			t.Fatal(err)
		}
		messages, err := c.Messages(jetstream.PullMaxMessages(1))
		if err != nil {
			t.Fatal(err)
		}
		for _, end := range []func(jetstream.Msg) error{
			jetstream.Msg.Nak,
			func(m jetstream.Msg) error { return errors.Join(m.InProgress(), m.DoubleAck(t.Context())) },
		} {
			msg, err := messages.Next(jetstream.NextMaxWait(10 * time.Second))
			if err != nil {
				t.Fatal(err)
			}
			if err := end(msg); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		messages.Stop()
	}
	publish(t, a.worker, newEvent("l3"))
	if err := publisher(t, a.worker).Poison(t.Context(), tenant.String(), "ledger", "r", 1, nil, nil); err != nil {
		t.Error(err)
	}
	if s := stock(t, a.worker); s.Floors[bus.ConsumerBulk].Seq != 3 || s.Floors[bus.ConsumerLive].Seq != 1 {
		t.Errorf("%+v", s.Floors)
	}
	if err := bus.PurgeBelow(t.Context(), a.worker, 2); err != nil {
		t.Error(err)
	}
	for _, name := range names {
		if err := a.admin.DeleteConsumer(t.Context(), bus.StreamEvents, name); err != nil {
			t.Fatal(err)
		}
		if _, err := bus.EnsureConsumer(t.Context(), a.worker, name, bus.Options{Replicas: 1}); err != nil {
			t.Error(err)
		}
	}
	// Nothing of it was refused in silence.
	for name, js := range map[string]jetstream.JetStream{bus.UserAPI: a.api, bus.UserWorker: a.worker, bus.UserAdmin: a.admin} {
		if err := js.Conn().LastError(); errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// allowed is all that may be published, by user. A trailing > stands for
// anything behind it.
var allowed = map[string][]string{
	bus.UserAPI: {
		"events.live.>", "events.bulk.>", bus.SubjectTest,
		"$JS.API.STREAM.INFO.EVENTS", "$JS.API.DIRECT.GET.EVENTS",
	},
	bus.UserWorker: {
		"events.live.>", "poison.>",
		"$JS.API.STREAM.INFO.EVENTS", "$JS.API.STREAM.PURGE.EVENTS", "$JS.API.DIRECT.GET.EVENTS",
		"$JS.API.STREAM.MSG.GET.EVENTS",
		"$JS.API.CONSUMER.INFO.EVENTS.>", "$JS.API.CONSUMER.MSG.NEXT.EVENTS.>",
		"$JS.API.CONSUMER.CREATE.EVENTS.deliver-live.>", "$JS.API.CONSUMER.CREATE.EVENTS.deliver-bulk.>",
		"$JS.ACK.EVENTS.>",
		"$JS.API.STREAM.MSG.DELETE.EVENTS", "$JS.API.STREAM.INFO.POISON", "$JS.API.STREAM.MSG.GET.POISON",
		"$JS.API.STREAM.MSG.DELETE.POISON", "$JS.API.STREAM.PURGE.POISON",
	},
	bus.UserAdmin: {"$JS.API.>"},
}

func TestUsers_MayDoNothingElse(t *testing.T) {
	t.Parallel()
	// A server of its own: hundreds of refusals would fill the shared one's log.
	config := localnats.Config{Dir: t.TempDir()}
	for _, u := range bus.Users() {
		config.Users = append(config.Users, localnats.User{Name: u.Name, Publish: u.Publish, Subscribe: u.Subscribe, Responses: u.Responses})
	}
	server, err := localnats.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
	})
	published, subscribed := subjects()
	for _, u := range bus.Users() {
		may := func(subject string) bool {
			return slices.ContainsFunc(allowed[u.Name], func(rule string) bool {
				prefix, open := strings.CutSuffix(rule, ">")
				return subject == rule || open && strings.HasPrefix(subject, prefix)
			})
		}
		for _, subject := range published {
			if got := refused(t, server, u.Name, func(nc *nats.Conn) error { return nc.Publish(subject, nil) }); got == may(subject) {
				t.Errorf("%s publishes to %s: refused %t", u.Name, subject, got)
			}
		}
		for _, subject := range subscribed {
			own := strings.HasPrefix(subject, bus.Inbox(u.Name)+".") || u.Name == bus.UserWorker && subject == bus.SubjectTest
			got := refused(t, server, u.Name, func(nc *nats.Conn) error {
				_, err := nc.SubscribeSync(subject)
				return err
			})
			if got == own {
				t.Errorf("%s subscribes to %s: refused %t", u.Name, subject, got)
			}
		}
	}
}

// subjects are what a user might try to publish and subscribe to: all of
// JetStream's API among it.
func subjects() (published, subscribed []string) {
	for _, template := range []string{
		server.JSApiStreamCreateT, server.JSApiStreamUpdateT, server.JSApiStreamInfoT, server.JSApiStreamDeleteT,
		server.JSApiStreamPurgeT, server.JSApiStreamSnapshotT, server.JSApiStreamRestoreT, server.JSApiMsgDeleteT,
		server.JSApiMsgGetT, server.JSDirectMsgGetT, server.JSApiConsumerCreateT, server.JSApiConsumersT,
		server.JSApiConsumerListT, server.JSApiStreamRemovePeerT, server.JSApiStreamEvacuatePeerT, server.JSApiStreamLeaderStepDownT,
	} {
		for _, stream := range []string{bus.StreamEvents, bus.StreamPoison, "OTHER"} {
			published = append(published, fmt.Sprintf(template, stream))
		}
	}
	for _, template := range []string{
		server.JSApiDurableCreateT, server.JSApiConsumerInfoT, server.JSApiConsumerDeleteT, server.JSApiConsumerPauseT,
		server.JSApiRequestNextT, server.JSApiConsumerResetT, server.JSApiConsumerUnpinT, server.JSDirectGetLastBySubjectT,
		server.JSApiConsumerLeaderStepDownT, server.JSApiConsumerRemovePeerT, server.JSApiConsumerEvacuatePeerT,
		"$JS.API.CONSUMER.CREATE.%s.%s", "$JS.API.CONSUMER.CREATE.%s.%s.events.live.x", "$JS.ACK.%s.%s.1.1.1.1.1",
	} {
		for _, stream := range []string{bus.StreamEvents, bus.StreamPoison} {
			for _, consumer := range []string{bus.ConsumerLive, bus.ConsumerBulk, "spy"} {
				published = append(published, fmt.Sprintf(template, stream, consumer))
			}
		}
	}
	published = append(published,
		server.JSApiAccountInfo, server.JSApiStreams, server.JSApiStreamList, server.JSApiLeaderStepDown, server.JSApiMetaRescue,
		"$JS.API.NEW", "$JS.FC.EVENTS.x.y", "$SYS.REQ.USER.INFO", "$KV.x.y", "$MQTT.x", "anything",
		"events.live."+tenant.String()+".deal.moved", "events.bulk."+tenant.String()+".deal.moved",
		"events.other."+tenant.String()+".deal.moved", "events.live",
		"poison."+tenant.String()+".parse", bus.SubjectTest, "worker.other")
	for _, u := range bus.Users() {
		published = append(published, bus.Inbox(u.Name)+".x.y") // answers are given to requests only
	}
	subscribed = []string{
		">", "*", "*.>", "events.>", "events.live.>", "poison.>", bus.SubjectTest, "worker.>", "$JS.>", "$JS.API.>",
		"$JS.ACK.>", "$JS.EVENT.>", "$SYS.>", "_INBOX.>", "_INBOX.x",
	}
	for _, u := range bus.Users() {
		subscribed = append(subscribed, bus.Inbox(u.Name)+".>", bus.Inbox(u.Name)+".x.y")
	}
	return published, subscribed
}

// refused says whether the server refuses what do asks of a fresh connection. It
// answers in order: before the flush returns.
func refused(t testing.TB, server *localnats.Server, user string, do func(*nats.Conn) error) bool {
	t.Helper()
	nc, err := bus.Connect(server.URL(user), user, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := errors.Join(do(nc), nc.Flush()); err != nil {
		t.Fatal(err)
	}
	return errors.Is(nc.LastError(), nats.ErrPermissionViolation)
}
