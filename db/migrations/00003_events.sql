-- +goose Up
set local lock_timeout = '5s';

-- An event's entry in the ledger: present means that every delivery of it is
-- either logged as finished or has a row in webhook_queue. day is the day of
-- its first acceptance, carried in the message, so every copy meets this key.
create table events (
  day        date not null,
  tenant_id  uuid not null,
  id         text not null,
  type       text not null,
  stream_seq bigint not null,
  contact_id text,
  created_at timestamptz not null,
  primary key (day, tenant_id, id)
) partition by range (day);
alter table events enable row level security;
alter table events force row level security;
create policy tenant on events to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on events to primezap_worker using (true);
grant select on events to primezap_api;
grant select, insert on events to primezap_worker;

-- Bodies that a queue row still needs after the event store was trimmed.
create table event_bodies (
  tenant_id uuid not null,
  event_day date not null,
  event_id  text not null,
  body      bytea not null,
  primary key (tenant_id, event_day, event_id)
);
alter table event_bodies enable row level security;
alter table event_bodies force row level security;
create policy worker on event_bodies to primezap_worker using (true);
grant select, insert, delete on event_bodies to primezap_worker;

-- How far the event store is read and trimmed. Not a tenant's: sequences only.
-- epoch is the stream's creation time in nanoseconds: a recreated stream starts
-- its sequences again, and none of these numbers speak of it.
create table consumer_floors (
  consumer text primary key,
  epoch    bigint not null,
  floor    bigint not null
);
create table event_store (
  only_row     boolean primary key default true check (only_row),
  epoch        bigint not null default 0,
  purged_below bigint not null default 0
);
insert into event_store default values;
grant select, insert, update on consumer_floors to primezap_worker;
grant select, update on event_store to primezap_worker;

-- key is "key:<Idempotency-Key>" or "id:<client's event id>".
create table idempotency_keys (
  tenant_id  uuid not null,
  key        text not null,
  event_ids  text[] not null,
  day        date not null,
  body_hash  bytea not null,
  accepted   boolean not null default false,
  created_at timestamptz not null default now(),
  primary key (tenant_id, key)
);
create index idempotency_keys_by_age on idempotency_keys (created_at);
alter table idempotency_keys enable row level security;
alter table idempotency_keys force row level security;
create policy tenant on idempotency_keys to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on idempotency_keys to primezap_worker using (true);
grant select, insert, update on idempotency_keys to primezap_api;
grant select, delete on idempotency_keys to primezap_worker;

-- Events that must be raised when, and only when, something else commits.
create table outbox (
  id           bigint generated always as identity primary key,
  tenant_id    uuid not null,
  event_id     text not null,
  event_type   text not null,
  day          date not null,
  body         bytea not null,
  conversation text,
  created_at   timestamptz not null default now()
);
alter table outbox enable row level security;
alter table outbox force row level security;
create policy tenant on outbox to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on outbox to primezap_worker using (true);
grant insert on outbox to primezap_api;
grant select, insert, delete on outbox to primezap_worker;

-- +goose Down
drop table outbox;
drop table idempotency_keys;
drop table event_store;
drop table consumer_floors;
drop table event_bodies;
drop table events;
