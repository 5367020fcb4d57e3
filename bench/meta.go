package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// inboundMark stands before the number of a message of the benchmark's.
const inboundMark = `wamid.bench-`

// metaSettings are those of the role meta.
type metaSettings struct {
	URL      string   `json:"url"` // of the API
	Secret   string   `json:"secret"`
	Accounts []string `json:"accounts"` // connected phone numbers
	People   int      `json:"people"`   // that write to each of them
}

// metaLoad asks for so many messages a second.
type metaLoad struct {
	PerSecond   float64       `json:"perSecond"`
	Duration    time.Duration `json:"duration"`
	Connections int           `json:"connections"` // posts in flight, at most
}

// metaResult is what came of it.
type metaResult struct {
	First     int64       `json:"first"` // number of the first message
	Messages  int64       `json:"messages"`
	Posts     int         `json:"posts"`
	Answered  percentiles `json:"answered"`  // from when a post was due to its 200
	PerSecond float64     `json:"perSecond"` // messages
	Again     int64       `json:"again"`     // posts that were repeated, since they were not answered so
}

// metaPost is one of Meta's: messages to one account.
type metaPost struct {
	due     time.Duration // from the begin
	first   int64         // number of its first message
	count   int
	account string
}

// metaRole plays Meta: it posts what people write, whatever becomes of it.
type metaRole struct {
	settings metaSettings
	client   *http.Client
	next     int64 // number of the next message
}

// metaTries is how often a post is made that is not answered with 200, as Meta
// would for days.
const metaTries = 10

// startMeta is the role meta.
func startMeta(s metaSettings, mux *http.ServeMux) (nothing, func() error, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: 1024}
	m := &metaRole{settings: s, client: &http.Client{Transport: transport, Timeout: postTimeout}, next: 1}
	handle(mux, "/send", m.send)
	return nothing{}, func() error { transport.CloseIdleConnections(); return nil }, nil
}

// plan spreads messages evenly over time: most posts have one, as Meta sends them,
// some a few, and a few some more.
func (m *metaRole) plan(load metaLoad) (posts []metaPost, messages int64) {
	random := rand.New(rand.NewPCG(1, uint64(m.next)))
	for total := int64(load.PerSecond * load.Duration.Seconds()); messages < total; {
		count := 1
		switch p := random.Float64(); {
		case p > 0.95:
			count = 10 + random.IntN(11)
		case p > 0.80:
			count = 2 + random.IntN(3)
		}
		count = int(min(int64(count), total-messages))
		posts = append(posts, metaPost{
			due: time.Duration(float64(messages) / load.PerSecond * float64(time.Second)), first: m.next + messages, count: count,
			account: m.settings.Accounts[random.IntN(len(m.settings.Accounts))],
		})
		messages += int64(count)
	}
	return posts, messages
}

// send makes posts, each at its own moment whatever became of those before it.
func (m *metaRole) send(ctx context.Context, load metaLoad) (r metaResult, err error) {
	posts, messages := m.plan(load)
	r = metaResult{First: m.next, Messages: messages, Posts: len(posts)}
	m.next += messages
	if m.next > maxEvents {
		return r, errNoNumbers
	}
	due, answered := make([]int64, len(posts)), make([]int64, len(posts))
	var next, again atomic.Int64
	failed := make(chan error, load.Connections)
	var wg sync.WaitGroup
	began := time.Now()
	for range load.Connections {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(posts)); i = next.Add(1) - 1 {
				at := began.Add(posts[i].due)
				time.Sleep(time.Until(at))
				repeats, err := m.post(ctx, &posts[i])
				again.Add(repeats)
				if err != nil {
					failed <- err
					return
				}
				due[i], answered[i] = at.UnixNano(), time.Now().UnixNano()
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	close(failed)
	for err := range failed {
		return r, err
	}
	r.Answered, r.PerSecond, r.Again = between(due, answered), float64(messages)/took.Seconds(), again.Load()
	return r, nil
}

// post makes a post until it is answered with 200.
func (m *metaRole) post(ctx context.Context, p *metaPost) (repeats int64, err error) {
	body := m.body(p, time.Now())
	mac := hmac.New(sha256.New, []byte(m.settings.Secret))
	mac.Write(body)
	signature := "sha256=" + hex.EncodeToString(mac.Sum(nil))
	for ; repeats < metaTries; repeats++ {
		if err = m.once(ctx, body, signature); err == nil || ctx.Err() != nil {
			return repeats, err
		}
	}
	return repeats, fmt.Errorf("post %d messages: %w", p.count, err)
}

func (m *metaRole) once(ctx context.Context, body []byte, signature string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.settings.URL+"/webhooks/meta", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Hub-Signature-256", signature)
	resp, err := m.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", resp.Status)
	}
	return nil
}

// body is a post as Meta's documentation shows it.
func (m *metaRole) body(p *metaPost, now time.Time) []byte {
	var contacts, messages []byte
	for i := range p.count {
		n := p.first + int64(i)
		// A number that is nobody's by itself, so that neighbours are different people.
		person := int64(uint64(n) * 0x9e3779b97f4a7c15 >> 33 % uint64(m.settings.People))
		phone := "55119" + fmt.Sprintf("%08d", person)
		if i > 0 {
			contacts, messages = append(contacts, ','), append(messages, ',')
		}
		contacts = fmt.Appendf(contacts, `{"profile":{"name":"Ana Silva %d"},"wa_id":"%s","user_id":"BR.%d"}`, person, phone, 1_000_000+person)
		messages = fmt.Appendf(messages, `{"from":"%s","from_user_id":"BR.%d","id":"%s%d","timestamp":"%d",`, phone, 1_000_000+person, inboundMark, n, now.Unix())
		messages = append(append(messages, written(n)...), '}')
	}
	return fmt.Appendf(nil, `{"object":"whatsapp_business_account","entry":[{"id":"1020304050","changes":[{"field":"messages","value":{`+
		`"messaging_product":"whatsapp","metadata":{"display_phone_number":"551140000001","phone_number_id":"%s"},"contacts":[%s],"messages":[%s]}}]}]}`,
		p.account, contacts, messages)
}

// written is what the person writes: text for the most part.
func written(n int64) string {
	number := strconv.FormatInt(n, 10)
	switch n % 20 {
	case 3, 11:
		return `"type":"image","image":{"caption":"comprovante ` + number + `","mime_type":"image/jpeg","sha256":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=","id":"` + number + `00"}`
	case 7:
		return `"type":"audio","audio":{"mime_type":"audio/ogg; codecs=opus","sha256":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=","id":"` + number + `01","voice":true}`
	case 13:
		return `"type":"interactive","interactive":{"type":"button_reply","button_reply":{"id":"yes-` + number + `","title":"Sim, pode enviar"}}`
	default:
		return `"type":"text","text":{"body":"Bom dia! Gostaria de saber se o pedido ` + number + ` já saiu para entrega, por favor."}`
	}
}
