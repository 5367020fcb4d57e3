// Package contacts serves the people that wrote through a tenant's connections.
// They come by writing: there is nothing that creates or removes one here.
package contacts

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/audit"
	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/outbox"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/page"
	"github.com/primezap/primezap/services/api/internal/param"
	"github.com/primezap/primezap/services/api/internal/people"
)

// Service implements the operations on contacts.
type Service struct {
	Store *store.Store
}

var e164 = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)

// ListContacts serves GET /api/contacts.
func (s *Service) ListContacts(ctx context.Context, req openapi.ListContactsRequestObject) (openapi.ListContactsResponseObject, error) {
	pages, faults := page.Parse(req.Params.Page, req.Params.Limit, req.Params.Cursor, page.IDKeySize)
	phone, tag := req.Params.Phone, req.Params.Tag
	if phone != nil {
		// A plus sign that nobody escaped reads as a space.
		phone = new("+" + strings.TrimLeft(*phone, "+ "))
		if !e164.MatchString(*phone) {
			param.Fault(&faults, "phone", "must be a number in E.164, such as +5511912345678")
		}
	}
	if tag != nil {
		faults = append(faults, people.CheckText(*tag, maxTag, "tag")...)
	}
	if len(faults) > 0 {
		return nil, problem.Invalid(faults...)
	}
	principal, _ := auth.FromContext(ctx)
	list := listing{tenant: principal.Tenant, phone: phone, tag: tag, pages: pages}
	var total int64
	var rows []db.Contact
	err := s.Store.InTenant(ctx, principal.Tenant, func(q *db.Queries) (err error) {
		if total, err = list.count(ctx, q); err != nil {
			return err
		}
		rows, err = list.rows(ctx, q)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list contacts: %w", err)
	}
	rows, pagination := page.Show(pages, rows, total, func(row db.Contact) []byte { return page.IDKey(row.ID) })
	shown := make([]openapi.Contact, len(rows))
	for i, row := range rows {
		shown[i] = show(row)
	}
	return openapi.ListContacts200JSONResponse{Data: shown, Pagination: pagination}, nil
}

// listing is what a list asks for; each way has an index of its own.
type listing struct {
	tenant     uuid.UUID
	phone, tag *string
	pages      page.Request
}

func (l listing) count(ctx context.Context, q *db.Queries) (int64, error) {
	switch {
	case l.phone != nil:
		return q.CountContactsByPhone(ctx, db.CountContactsByPhoneParams{Phone: *l.phone, TenantID: l.tenant, Tag: l.tag, Cap: page.CountLimit})
	case l.tag != nil:
		return q.CountContactsByTag(ctx, l.tenant, *l.tag, page.CountLimit)
	default:
		return q.CountContacts(ctx, l.tenant, page.CountLimit)
	}
}

func (l listing) rows(ctx context.Context, q *db.Queries) ([]db.Contact, error) {
	before, limit, offset := l.pages.AfterID(), l.pages.Limit(), l.pages.Offset()
	switch {
	case l.phone != nil:
		return q.ListContactsByPhone(ctx, db.ListContactsByPhoneParams{
			Phone: *l.phone, TenantID: l.tenant, Tag: l.tag, Before: before, RowLimit: limit, RowOffset: offset,
		})
	case l.tag != nil:
		return q.ListContactsByTag(ctx, db.ListContactsByTagParams{
			TenantID: l.tenant, Tag: *l.tag, Before: before, RowLimit: limit, RowOffset: offset,
		})
	default:
		return q.ListContacts(ctx, db.ListContactsParams{TenantID: l.tenant, Before: before, RowLimit: limit, RowOffset: offset})
	}
}

// GetContact serves GET /api/contacts/{id}. The id of one that turned out to be the
// same person as another is answered with that other, who has an id of her own.
func (s *Service) GetContact(ctx context.Context, req openapi.GetContactRequestObject) (openapi.GetContactResponseObject, error) {
	id, err := param.ID(req.ID)
	if err != nil {
		return nil, err
	}
	principal, _ := auth.FromContext(ctx)
	var row db.Contact
	err = s.Store.InTenant(ctx, principal.Tenant, func(q *db.Queries) (err error) {
		row, err = people.Find(ctx, q, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read contact %s: %w", id, err)
	}
	return openapi.GetContact200JSONResponse(show(row)), nil
}

// UpdateContact serves PATCH /api/contacts/{id}. A change that changes nothing leaves
// no trace.
func (s *Service) UpdateContact(ctx context.Context, req openapi.UpdateContactRequestObject) (openapi.UpdateContactResponseObject, error) {
	id, err := param.ID(req.ID)
	if err != nil {
		return nil, err
	}
	change, err := read(*req.Body)
	if err != nil {
		return nil, err
	}
	principal, _ := auth.FromContext(ctx)
	var row db.Contact
	err = s.Store.InTenant(ctx, principal.Tenant, func(q *db.Queries) error {
		before, err := people.Lock(ctx, q, id)
		if err != nil {
			return err
		}
		if row, err = change.apply(ctx, q, before); err != nil {
			return err
		}
		if _, changed := messaging.ContactUpdated(people.Contact(before), people.Contact(row), messaging.Actor{}); !changed {
			row = before
			return nil
		}
		row, err = q.UpdateContact(ctx, db.UpdateContactParams{
			ID: row.ID, Name: row.Name, Email: row.Email, Instagram: row.Instagram, Tags: row.Tags, OwnerID: row.OwnerID,
			OwnerName: row.OwnerName, CustomFields: row.CustomFields,
		})
		if err != nil {
			return err
		}
		if err := record(ctx, q, before, row); err != nil {
			return err
		}
		was, is := people.Contact(before), people.Contact(row)
		if is.Identities, err = people.Identities(ctx, q, row); err != nil {
			return err
		}
		told, _ := messaging.ContactUpdated(was, is, people.Actor(ctx))
		return outbox.Raise(ctx, q, outbox.Of(row.TenantID, row.UpdatedAt, told))
	})
	if err != nil {
		return nil, fmt.Errorf("change contact %s: %w", id, err)
	}
	return openapi.UpdateContact200JSONResponse(show(row)), nil
}

// show is a contact as answers have it.
func show(row db.Contact) openapi.Contact {
	c := people.Contact(row)
	shown := openapi.Contact{
		ID: c.ID, Name: c.Name, Phone: c.Phone, Email: c.Email, Instagram: c.Instagram, Tags: c.Tags,
		Source: openapi.ContactSource(c.Source), Owner: people.ShowAgent(c.Owner), CustomFields: c.CustomFields,
		CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt,
	}
	return shown
}

// audited is what the audit log has of a contact: nothing that tells who she is,
// since it outlives the erasure of a contact.
type audited struct {
	ID      uuid.UUID      `json:"id"`
	Tags    []string       `json:"tags"`
	Owner   *openapi.Agent `json:"owner"`
	Changed []string       `json:"changed,omitempty"` // fields, also of those that are not shown
}

func record(ctx context.Context, q *db.Queries, before, after db.Contact) error {
	state := func(row db.Contact) audited {
		return audited{ID: row.ID, Tags: row.Tags, Owner: people.ShowAgent(people.Contact(row).Owner)}
	}
	now := state(after)
	now.Changed = messaging.ChangedFields(people.Contact(before), people.Contact(after))
	return audit.Record(ctx, q, audit.Change{
		Action: "contact.updated", SubjectType: "contact", SubjectID: after.ID.String(), Before: state(before), After: now,
	})
}
