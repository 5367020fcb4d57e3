-- +goose NO TRANSACTION
-- An index is built here beside the traffic, which no transaction can do. Each
-- statement may be run again after one behind it failed.

-- +goose Up
-- Events that are delivered again. A replay walks the tenant's entries in the
-- ledger, day by day in the order of their ids: next_day and after_id are where it
-- has come to, and move in the transaction that inserts the rows before them. A
-- webhook has one at a time.
create table if not exists replays (
  id          uuid primary key,
  tenant_id   uuid not null,
  webhook_id  uuid not null,
  state       smallint not null default 0,     -- 0 pending, 1 running, 2 completed, 3 cancelled, 4 failed
  since       timestamptz not null,
  until       timestamptz not null,
  events      text[] not null,                 -- subscriptions
  failed_only boolean not null,
  next_day    date not null,
  after_id    text not null default '',
  inserted    bigint not null default 0,
  skipped     bigint not null default 0,
  failure     text,
  created_at  timestamptz not null default now(),
  finished_at timestamptz
);
create unique index if not exists replays_one_a_webhook on replays (webhook_id) where state < 2;
create index if not exists replays_by_tenant on replays (tenant_id);
create index if not exists replays_finished on replays (finished_at) where finished_at is not null;
alter table replays enable row level security;
alter table replays force row level security;
drop policy if exists tenant on replays;
create policy tenant on replays to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
drop policy if exists worker on replays;
create policy worker on replays to primezap_worker using (true);
grant select, insert, update (state, finished_at) on replays to primezap_api; -- to cancel
grant select, update, delete on replays to primezap_worker;

-- What replays have put into a webhook's queue and nobody has delivered yet.
drop index concurrently if exists webhook_queue_replayed;
create index concurrently webhook_queue_replayed on webhook_queue (webhook_id) where kind = 2 and state < 3;

-- +goose Down
drop index concurrently if exists webhook_queue_replayed;
drop table if exists replays;
