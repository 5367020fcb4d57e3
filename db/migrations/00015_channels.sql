-- +goose Up
set local lock_timeout = '5s';

-- A number, page or account of Meta's that a tenant sends and receives through.
create table connections (
  id            uuid primary key,
  tenant_id     uuid not null,
  channel       text not null check (channel in ('whatsapp', 'facebook', 'instagram')),
  name          text not null,
  external_id   text not null,            -- Meta's id of the phone number, page or Instagram account
  page_id       text,                     -- of an Instagram account: updates may come under the page's id
  credentials   bytea,                    -- sealed; null once it is deleted
  status        text not null default 'active' check (status in ('active', 'reconnect', 'paused')),
  account_name  text,                     -- as Meta calls it
  last_error    text,
  last_error_at timestamptz,
  created_at    timestamptz not null default now(),
  updated_at    timestamptz not null default now(),
  deleted_at    timestamptz
);
-- Whoever it is that connects an account, it is connected once.
create unique index connections_live on connections (external_id, channel) where deleted_at is null;
create index connections_by_page on connections (page_id, channel) where deleted_at is null and page_id is not null;
create index connections_by_tenant on connections (tenant_id, id);
alter table connections enable row level security;
alter table connections force row level security;
create policy tenant on connections to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on connections to primezap_worker using (true);
create policy definer on connections to primezap_definer using (true);
grant select, insert, update on connections to primezap_api;
grant select, update, delete on connections to primezap_worker;
grant select on connections to primezap_definer;

-- The live connections of accounts that Meta tells of, before the tenant is known.
-- Channels and ids are pairs.
-- +goose StatementBegin
create function find_connections(channels text[], account_ids text[])
  returns table (id uuid, tenant_id uuid, channel text, external_id text, page_id text)
  language sql stable security definer set search_path = pg_catalog, public, pg_temp
  set enable_seqscan = off as $$
  select c.id, c.tenant_id, c.channel, c.external_id, c.page_id
  from (select distinct unnest(channels) as channel, unnest(account_ids) as account_id) a
  cross join lateral (
    select l.* from public.connections l
    where l.external_id = a.account_id and l.channel = a.channel and l.deleted_at is null
    union all
    select l.* from public.connections l
    where l.page_id = a.account_id and l.channel = a.channel and l.deleted_at is null
  ) c
$$;
-- +goose StatementEnd
alter function find_connections(text[], text[]) owner to primezap_definer;
revoke all on function find_connections(text[], text[]) from public;
grant execute on function find_connections(text[], text[]) to primezap_api;

-- How much a connection sent in each kind of window. A row that says nothing of a
-- limit of its own (overridden) follows the configuration.
create table integration_rate_limits (
  connection_id uuid not null,
  window_type   text not null check (window_type in ('per_minute', 'per_hour', 'per_day')),
  tenant_id     uuid not null,
  max_requests  bigint not null check (max_requests >= 0),
  overridden    boolean not null default false,
  request_count bigint not null default 0 check (request_count >= 0),
  window_start  timestamptz not null,
  window_end    timestamptz not null,
  primary key (connection_id, window_type)
) with (fillfactor = 50); -- the same rows, over and over
create index integration_rate_limits_by_tenant on integration_rate_limits (tenant_id);
alter table integration_rate_limits enable row level security;
alter table integration_rate_limits force row level security;
create policy tenant on integration_rate_limits to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on integration_rate_limits to primezap_worker using (true);
grant select, insert, update, delete on integration_rate_limits to primezap_api, primezap_worker;

-- A person. What she is known by on the channels stands in contact_identities.
create table contacts (
  id            uuid primary key,
  tenant_id     uuid not null,
  name          text not null,
  profile_name  text,                     -- as the channel last said; a name that differs was set by hand
  phone         text,                     -- E.164
  email         text,
  instagram     text,                     -- user name
  tags          text[] not null default '{}',
  source        text not null check (source in ('whatsapp', 'facebook', 'instagram')),
  owner_id      uuid,
  owner_name    text,
  custom_fields json not null default '{}',
  merged_into   uuid,                     -- the same person, as it turned out; this row is empty then
  created_at    timestamptz not null default now(),
  updated_at    timestamptz not null default now()
);
create index contacts_by_tenant on contacts (tenant_id, id);
create index contacts_by_phone on contacts (phone, tenant_id) where phone is not null;
alter table contacts enable row level security;
alter table contacts force row level security;
create policy tenant on contacts to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on contacts to primezap_worker using (true);
grant select, insert, update on contacts to primezap_api;
grant select, update, delete on contacts to primezap_worker;

-- scope is the account that a page- or account-scoped id holds for, else empty.
create table contact_identities (
  value      text not null,
  kind       text not null check (kind in ('phone', 'user_id', 'psid', 'igsid')),
  scope      text not null default '',
  tenant_id  uuid not null,
  contact_id uuid not null,
  primary key (value, kind, scope, tenant_id)
);
create index contact_identities_by_contact on contact_identities (contact_id);
create index contact_identities_by_tenant on contact_identities (tenant_id);
alter table contact_identities enable row level security;
alter table contact_identities force row level security;
create policy tenant on contact_identities to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on contact_identities to primezap_worker using (true);
grant select, insert, update, delete on contact_identities to primezap_api;
grant select, delete on contact_identities to primezap_worker;

create table conversations (
  id              uuid primary key,
  tenant_id       uuid not null,
  connection_id   uuid not null,
  contact_id      uuid not null,
  channel         text not null,
  status          text not null default 'open' check (status in ('open', 'pending', 'closed')),
  assignee_id     uuid,
  assignee_name   text,
  last_message_at timestamptz,
  last_inbound_at timestamptz,
  created_at      timestamptz not null default now(),
  updated_at      timestamptz not null default now(),
  closed_at       timestamptz
) with (fillfactor = 80); -- changed with every message
create unique index conversations_open on conversations (contact_id, connection_id) where status <> 'closed';
create index conversations_by_contact on conversations (contact_id, id);
create index conversations_by_connection on conversations (connection_id, id);
create index conversations_by_tenant on conversations (tenant_id, id);
alter table conversations enable row level security;
alter table conversations force row level security;
create policy tenant on conversations to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on conversations to primezap_worker using (true);
grant select, insert, update on conversations to primezap_api;
grant select, update, delete on conversations to primezap_worker;

-- external_id is Meta's, or "~" and a hash where Meta gave none: what is told twice
-- is stored once.
create table messages (
  id              uuid primary key,
  tenant_id       uuid not null,
  connection_id   uuid not null,
  conversation_id uuid not null,
  contact_id      uuid not null,
  channel         text not null,
  direction       text not null check (direction in ('inbound', 'outbound')),
  external_id     text,
  type            text not null,
  text            text,
  content         json not null default '{}', -- media, location and so on: messaging.Content
  raw             bytea,                      -- as Meta sent it
  status          text not null,
  status_at       timestamptz,
  error           json,
  pricing         json,
  standby         boolean not null default false,
  sent_at         timestamptz not null,
  edited_at       timestamptz,
  deleted_at      timestamptz,                -- by its sender
  created_at      timestamptz not null default now(),
  updated_at      timestamptz not null default now()
) with (fillfactor = 90);
create unique index messages_once on messages (external_id, connection_id) where external_id is not null;
create index messages_by_conversation on messages (conversation_id, id);
create index messages_by_tenant on messages (tenant_id, id);
alter table messages enable row level security;
alter table messages force row level security;
create policy tenant on messages to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on messages to primezap_worker using (true);
grant select, insert, update on messages to primezap_api;
grant select, update, delete on messages to primezap_worker;

-- What Meta told of a connection beside messages, kept as it came for a month.
create table channel_updates (
  id            uuid primary key,
  tenant_id     uuid not null,
  connection_id uuid not null,
  field         text not null,             -- Meta's name of what changed
  digest        bytea not null,            -- SHA-256 of raw
  raw           bytea not null,
  received_at   timestamptz not null default now()
);
create unique index channel_updates_once on channel_updates (digest, connection_id);
create index channel_updates_by_tenant on channel_updates (tenant_id, id);
alter table channel_updates enable row level security;
alter table channel_updates force row level security;
create policy tenant on channel_updates to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on channel_updates to primezap_worker using (true);
grant select, insert on channel_updates to primezap_api;
grant select, delete on channel_updates to primezap_worker;

-- +goose Down
drop table channel_updates;
drop table messages;
drop table conversations;
drop table contact_identities;
drop table contacts;
drop table integration_rate_limits;
drop function find_connections(text[], text[]);
drop table connections;
