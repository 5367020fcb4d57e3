package webhooks

import (
	"context"
	"strconv"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/page"
	"github.com/primezap/primezap/services/api/internal/param"
	"github.com/primezap/primezap/services/api/internal/render"
)

// ListWebhookLogs serves GET /api/custom-webhooks/{id}/logs.
func (s *Service) ListWebhookLogs(ctx context.Context, req openapi.ListWebhookLogsRequestObject) (openapi.ListWebhookLogsResponseObject, error) {
	pages, faults := page.Parse(req.Params.Page, req.Params.Limit, req.Params.Cursor, page.TimeKeySize)
	wanted := parseLogQuery(req.Params, &faults)
	if len(faults) > 0 {
		return nil, problem.Invalid(faults...)
	}
	wanted.BeforeTime, wanted.BeforeID = pages.AfterTime()
	wanted.RowLimit, wanted.RowOffset = pages.Limit(), pages.Offset()
	var total int64
	var rows []db.WebhookLog
	err := s.of(ctx, req.ID, func(q *db.Queries, hook db.Webhook) (err error) {
		wanted.WebhookID, wanted.tenant = hook.ID, hook.TenantID
		if total, err = wanted.count(ctx, q); err != nil {
			return err
		}
		rows, err = wanted.list(ctx, q)
		return err
	})
	if err != nil {
		return nil, err
	}
	rows, pagination := page.Show(pages, rows, total, func(row db.WebhookLog) []byte { return page.TimeKey(row.CreatedAt, row.ID) })
	return openapi.ListWebhookLogs200JSONResponse{Data: each(rows, showLog), Pagination: pagination}, nil
}

// logQuery is which attempts are wanted. It asks where they are few: among those
// of an event, or among what failed; else among all of the webhook.
type logQuery struct {
	db.ListLogsParams
	tenant  uuid.UUID
	eventID *string
}

func parseLogQuery(params openapi.ListWebhookLogsParams, faults *[]problem.FieldError) logQuery {
	wanted := logQuery{
		ListLogsParams: db.ListLogsParams{
			Success: param.Boolean("success", params.Success, faults),
			Event:   params.Event,
		},
		eventID: params.EventID,
	}
	wanted.FromTime, wanted.ToTime = param.Period(params.From, params.To, param.Beginning, param.FarFuture, faults)
	if name := params.Event; name != nil {
		if _, ok := event.Lookup(event.Type(*name)); !ok {
			param.Fault(faults, "event", event.NoType)
		}
	}
	if id := params.EventID; id != nil && !event.ValidID(*id) {
		param.Fault(faults, "eventId", "must be 1 to 64 letters, digits, _ and -")
	}
	if status := params.Status; status != nil {
		from, to, ok := statusRange(*status)
		if !ok {
			param.Fault(faults, "status", "must be 0, a status such as 404, or a class such as 5xx")
		}
		wanted.StatusFrom, wanted.StatusTo = &from, &to
	}
	return wanted
}

// failures says that nothing is wanted but what failed: no success has another
// status than 2xx.
func (l *logQuery) failures() bool {
	return l.Success != nil && !*l.Success || l.StatusFrom != nil && *l.StatusFrom/100 != 2
}

func (l *logQuery) count(ctx context.Context, q *db.Queries) (int64, error) {
	p := db.CountLogsParams{
		WebhookID: l.WebhookID, FromTime: l.FromTime, ToTime: l.ToTime, Success: l.Success, Event: l.Event,
		StatusFrom: l.StatusFrom, StatusTo: l.StatusTo, Cap: page.CountLimit,
	}
	switch {
	case l.eventID != nil:
		return q.CountLogsOfEvent(ctx, db.CountLogsOfEventParams{
			EventID: *l.eventID, TenantID: l.tenant, WebhookID: p.WebhookID, FromTime: p.FromTime, ToTime: p.ToTime,
			Success: p.Success, Event: p.Event, StatusFrom: p.StatusFrom, StatusTo: p.StatusTo, Cap: p.Cap,
		})
	case l.failures():
		return q.CountFailedLogs(ctx, db.CountFailedLogsParams(p))
	default:
		return q.CountLogs(ctx, p)
	}
}

func (l *logQuery) list(ctx context.Context, q *db.Queries) ([]db.WebhookLog, error) {
	switch {
	case l.eventID != nil:
		p := l.ListLogsParams
		rows, err := q.ListLogsOfEvent(ctx, db.ListLogsOfEventParams{
			EventID: *l.eventID, TenantID: l.tenant, WebhookID: p.WebhookID, FromTime: p.FromTime, ToTime: p.ToTime,
			Success: p.Success, Event: p.Event, StatusFrom: p.StatusFrom, StatusTo: p.StatusTo,
			BeforeTime: p.BeforeTime, BeforeID: p.BeforeID, RowLimit: p.RowLimit, RowOffset: p.RowOffset,
		})
		return each(rows, func(row db.ListLogsOfEventRow) db.WebhookLog { return db.WebhookLog(row) }), err
	case l.failures():
		return q.ListFailedLogs(ctx, db.ListFailedLogsParams(l.ListLogsParams))
	default:
		return q.ListLogs(ctx, l.ListLogsParams)
	}
}

// statusRange reads 404, 4xx, or 0 for attempts without an answer.
func statusRange(s string) (from, to int16, ok bool) {
	if len(s) == 3 && s[0] >= '1' && s[0] <= '5' && s[1:] == "xx" {
		from = int16(s[0]-'0') * 100
		return from, from + 99, true
	}
	n, err := strconv.ParseUint(s, 10, 15)
	if err != nil || n != 0 && (n < 100 || n > 599) {
		return 0, 0, false
	}
	return int16(n), int16(n), true
}

func showLog(row db.WebhookLog) openapi.WebhookLog {
	l := openapi.WebhookLog{
		ID: row.ID, WebhookID: row.WebhookID, DeliveryID: row.DeliveryID, EventID: row.EventID, Event: row.EventType,
		Attempt: int(row.Attempt), Kind: render.Kind(row.Kind), Counted: row.Counted, Success: row.Success,
		Status: render.Status(row.Status), DurationMs: int(row.DurationMs), ResponseBody: row.ResponseBody,
		ResponseHeaders: row.ResponseHeaders, CreatedAt: row.CreatedAt.UTC(),
	}
	l.Request.Headers = row.RequestHeaders
	l.Timing.DNSMs, l.Timing.ConnectMs = milliseconds(row.DnsMs), milliseconds(row.ConnectMs)
	l.Timing.TLSMs, l.Timing.FirstByteMs = milliseconds(row.TlsMs), milliseconds(row.FirstByteMs)
	if row.ErrorClass != nil {
		l.Error = &openapi.AttemptError{Class: *row.ErrorClass}
		if row.ErrorMessage != nil {
			l.Error.Message = *row.ErrorMessage
		}
	}
	return l
}

func milliseconds(ms *int32) *int {
	if ms == nil {
		return nil
	}
	return new(int(*ms))
}
