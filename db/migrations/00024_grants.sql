-- +goose Up
set local lock_timeout = '5s';

-- What somebody has allowed by logging in to Facebook, for a tenant.
create table oauth_grants (
  id                     uuid primary key,
  tenant_id              uuid not null,
  user_id                text not null,   -- Meta's, of our app
  user_name              text not null,
  credentials            bytea,           -- the user's token, sealed; null once it is worth nothing
  status                 text not null default 'active' check (status in ('active', 'reconnect')),
  scopes                 text[] not null, -- granted
  missing_scopes         text[] not null, -- asked for, and not granted
  granted_at             timestamptz not null default now(), -- the last login
  expires_at             timestamptz,     -- null: never
  data_access_expires_at timestamptz,
  told_expires_at        timestamptz,     -- the ends that connection.expiring has told of
  told_data_access_at    timestamptz,
  check_at               timestamptz not null default now(), -- when a worker looks at it next
  created_at             timestamptz not null default now(),
  updated_at             timestamptz not null default now()
);
create unique index oauth_grants_by_user on oauth_grants (tenant_id, user_id);
create index oauth_grants_of_user on oauth_grants (user_id); -- whoever's, when Meta tells of the user
create index oauth_grants_check on oauth_grants (check_at, id);
alter table oauth_grants enable row level security;
alter table oauth_grants force row level security;
create policy tenant on oauth_grants to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on oauth_grants to primezap_worker using (true);
create policy definer on oauth_grants to primezap_definer using (true);
grant select, insert, update, delete on oauth_grants to primezap_api;
grant select, update, delete on oauth_grants to primezap_worker;
grant select (tenant_id, user_id) on oauth_grants to primezap_definer;

-- Whether other tenants live on what the same user has allowed: to take it back at
-- Meta would end theirs too.
-- +goose StatementBegin
create function granted_elsewhere(facebook_user text) returns boolean
  language sql stable security definer set search_path = pg_catalog, public, pg_temp set enable_seqscan = off as $$
  select exists (select from public.oauth_grants g
    where g.user_id = facebook_user and g.tenant_id <> nullif(current_setting('app.tenant_id', true), '')::uuid)
$$;
-- +goose StatementEnd
alter function granted_elsewhere(text) owner to primezap_definer;
revoke all on function granted_elsewhere(text) from public;
grant execute on function granted_elsewhere(text) to primezap_api;

-- States of logins that were used: each is good once.
create table oauth_states (
  tenant_id  uuid not null,
  nonce      text not null,
  expires_at timestamptz not null,
  primary key (tenant_id, nonce)
);
create index oauth_states_expired on oauth_states (expires_at);
alter table oauth_states enable row level security;
alter table oauth_states force row level security;
create policy tenant on oauth_states to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on oauth_states to primezap_worker using (true);
grant select, insert on oauth_states to primezap_api;
grant select, delete on oauth_states to primezap_worker;

-- What Meta tells of a user: that they removed the app, or want their data deleted.
-- No tenant's: a user may have logged in for several.
create table oauth_withdrawals (
  id           uuid primary key,
  kind         text not null check (kind in ('deauthorize', 'deletion')),
  code         text not null unique,  -- by which the user asks how far it is
  request      bytea not null unique, -- hash of what was signed: it may come again
  user_id      text,                  -- null once it is done
  issued_at    timestamptz not null,  -- Meta's: a later login stands
  requested_at timestamptz not null default now(),
  completed_at timestamptz
);
create index oauth_withdrawals_completed on oauth_withdrawals (completed_at) where completed_at is not null;
grant select, insert on oauth_withdrawals to primezap_api;
grant select, update, delete on oauth_withdrawals to primezap_worker;

-- By which grant a connection came, and what Meta is to tell of its page.
alter table connections
  add column grant_id uuid,
  add column subscribed_fields text[],          -- null: nothing
  add column subscription_check_at timestamptz; -- when a worker looks at it next
create index connections_by_grant on connections (tenant_id, grant_id) where deleted_at is null and grant_id is not null;
create index connections_subscription on connections (subscription_check_at, id) where deleted_at is null and subscribed_fields is not null;

-- +goose Down
drop index connections_subscription;
drop index connections_by_grant;
alter table connections drop column subscription_check_at, drop column subscribed_fields, drop column grant_id;
drop table oauth_withdrawals;
drop table oauth_states;
drop function granted_elsewhere(text);
drop table oauth_grants;
