-- +goose Up
set local lock_timeout = '5s';

-- Who changed what: written in the transaction of the change, and never changed.
-- before and after are what the API shows of the subject, so without secrets.
create table audit_log (
  id           uuid primary key,
  tenant_id    uuid not null,
  created_at   timestamptz not null default now(),
  actor        text not null,            -- "key:<id>", "user:<id>", "system"
  action       text not null,            -- "webhook.updated"
  subject_type text not null,
  subject_id   text not null,
  before       json,
  after        json
);
create index audit_log_by_tenant on audit_log (tenant_id, id);
create index audit_log_by_subject on audit_log (tenant_id, subject_id, id);
alter table audit_log enable row level security;
alter table audit_log force row level security;
create policy tenant on audit_log to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on audit_log to primezap_worker using (true);
grant select, insert on audit_log to primezap_api;
grant select, insert, delete on audit_log to primezap_worker;

-- +goose Down
drop table audit_log;
