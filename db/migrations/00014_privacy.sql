-- +goose Up
set local lock_timeout = '5s';

-- Finds the events of a contact, where they are about one. Not a hash index: the
-- events of one contact share a chain of pages there, which each further one goes
-- through. The contact leads, since an index that begins with the tenant looks
-- right for every query under row level security. ON ONLY: building it for days
-- that are there would stop the ledger meanwhile. Days to come have it; those
-- before are read by their primary key, and are gone in a month.
create index events_by_contact on only events (contact_id, tenant_id) where contact_id is not null;
-- Set when the event's body was erased: there is nothing to be sent again.
alter table events add column erased_at timestamptz;
grant update (contact_id, erased_at), delete on events to primezap_worker;
grant update (response_headers, response_body), delete on webhook_logs to primezap_worker;

-- What was accepted about a contact until somebody asked to have it erased:
-- last_seq of the stream epoch, or last_time where the stream was made anew since.
-- When it has ended, the row does not say who it was.
create table erasures (
  id          uuid primary key,
  tenant_id   uuid not null,
  contact_id  text,
  epoch       bigint not null,
  last_seq    bigint not null,
  last_time   timestamptz not null,
  step        smallint not null default 0,  -- of the work, and how far it has come in it
  place       bigint not null default 0,
  events      bigint not null default 0,
  bodies      bigint not null default 0,
  logs        bigint not null default 0,
  deliveries  bigint not null default 0,
  created_at  timestamptz not null default now(),
  started_at  timestamptz,
  erased_at   timestamptz,                  -- the first time over; late copies are looked for after it
  finished_at timestamptz
);
create index erasures_by_tenant on erasures (tenant_id);
alter table erasures enable row level security;
alter table erasures force row level security;
create policy tenant on erasures to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on erasures to primezap_worker using (true);
grant select, insert on erasures to primezap_api;
grant select, update, delete on erasures to primezap_worker;

-- A deleted tenant's row stays, so that nobody becomes that tenant again.
alter table tenants add column deleted_at timestamptz;

-- It belongs to the tenant that asked, the platform's own; target_id is deleted.
create table tenant_deletions (
  id          uuid primary key,
  tenant_id   uuid not null,
  target_id   uuid not null unique,
  step        text not null default 'webhooks',
  place       bigint not null default 0,    -- the generation of the webhook that it has come to
  rows        bigint not null default 0,
  found       bigint not null default 0,    -- in the pass that is under way
  pass_at     timestamptz not null default now(),
  created_at  timestamptz not null default now(),
  started_at  timestamptz,
  finished_at timestamptz
);
create index tenant_deletions_by_tenant on tenant_deletions (tenant_id);
alter table tenant_deletions enable row level security;
alter table tenant_deletions force row level security;
create policy tenant on tenant_deletions to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on tenant_deletions to primezap_worker using (true);
grant select, insert on tenant_deletions to primezap_api;
grant select, update on tenant_deletions to primezap_worker;

grant delete on webhook_stats_hourly, webhook_durations_hourly to primezap_worker;
grant delete on api_keys to primezap_definer;
create policy definer on webhooks to primezap_definer
  using (exists (select from tenants t where t.id = webhooks.tenant_id and t.deleted_at is not null));
grant select, update (active, deleted_at, updated_at) on webhooks to primezap_definer;

-- From the end of the transaction on, the tenant's keys and tokens are refused.
-- False: it was deleted before.
-- +goose StatementBegin
create function delete_tenant(tenant uuid) returns boolean
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
begin
  insert into public.tenants as t (id, deleted_at) values (tenant, now())
    on conflict (id) do update set deleted_at = now() where t.deleted_at is null;
  return found;
end
$$;
-- +goose StatementEnd
alter function delete_tenant(uuid) owner to primezap_definer;
revoke all on function delete_tenant(uuid) from public;
grant execute on function delete_tenant(uuid) to primezap_api;

-- +goose StatementBegin
create function tenant_deleted(tenant uuid) returns boolean
  language sql stable security definer set search_path = pg_catalog, public, pg_temp as $$
  select exists (select from public.tenants t where t.id = tenant and t.deleted_at is not null)
$$;
-- +goose StatementEnd
alter function tenant_deleted(uuid) owner to primezap_definer;
revoke all on function tenant_deleted(uuid) from public;
grant execute on function tenant_deleted(uuid) to primezap_api;

-- Removes the keys of a deleted tenant, and of no other.
-- +goose StatementBegin
create function remove_api_keys(tenant uuid) returns bigint
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  removed bigint;
begin
  delete from public.api_keys k where k.tenant_id = tenant
    and exists (select from public.tenants t where t.id = tenant and t.deleted_at is not null);
  get diagnostics removed = row_count;
  return removed;
end
$$;
-- +goose StatementEnd
alter function remove_api_keys(uuid) owner to primezap_definer;
revoke all on function remove_api_keys(uuid) from public;
grant execute on function remove_api_keys(uuid) to primezap_worker;

-- Deletes webhooks of a deleted tenant, and of no other. Softly, as when somebody
-- deletes one: workers hear of it before the next event.
-- +goose StatementBegin
create function shut_webhooks(tenant uuid, row_limit integer) returns bigint
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  shut bigint;
begin
  update public.webhooks w set deleted_at = now(), updated_at = now(), active = false
    where w.id = any (array(
      select o.id from public.webhooks o where o.tenant_id = tenant and o.deleted_at is null
        and exists (select from public.tenants t where t.id = tenant and t.deleted_at is not null)
      order by o.id limit row_limit));
  get diagnostics shut = row_count;
  return shut;
end
$$;
-- +goose StatementEnd
alter function shut_webhooks(uuid, integer) owner to primezap_definer;
revoke all on function shut_webhooks(uuid, integer) from public;
grant execute on function shut_webhooks(uuid, integer) to primezap_worker;

-- +goose StatementBegin
create or replace function find_api_key(key_hash bytea)
  returns table (id uuid, tenant_id uuid, scopes text[])
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  found public.api_keys;
begin
  select k.* into found from public.api_keys k where k.hash = key_hash and k.revoked_at is null
    and not exists (select from public.tenants t where t.id = k.tenant_id and t.deleted_at is not null);
  if found.id is null then
    return;
  end if;
  if found.last_used_at is null or found.last_used_at < now() - interval '1 minute' then
    update public.api_keys k set last_used_at = now() where k.id = found.id;
  end if;
  id := found.id;
  tenant_id := found.tenant_id;
  scopes := found.scopes;
  return next;
end
$$;
-- +goose StatementEnd

-- The days of events that have a partition, whatever they are.
create function event_days() returns setof date
  language sql stable set search_path = pg_catalog, public, pg_temp as $$
  select to_date(right(c.relname, 8), 'YYYYMMDD') from pg_inherits i join pg_class c on c.oid = i.inhrelid
  where i.inhparent = 'public.events'::regclass order by 1
$$;

-- +goose Down
drop function event_days();
-- +goose StatementBegin
create or replace function find_api_key(key_hash bytea)
  returns table (id uuid, tenant_id uuid, scopes text[])
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  found public.api_keys;
begin
  select k.* into found from public.api_keys k where k.hash = key_hash and k.revoked_at is null;
  if found.id is null then
    return;
  end if;
  if found.last_used_at is null or found.last_used_at < now() - interval '1 minute' then
    update public.api_keys k set last_used_at = now() where k.id = found.id;
  end if;
  id := found.id;
  tenant_id := found.tenant_id;
  scopes := found.scopes;
  return next;
end
$$;
-- +goose StatementEnd
drop function shut_webhooks(uuid, integer);
drop function remove_api_keys(uuid);
drop function tenant_deleted(uuid);
drop function delete_tenant(uuid);
revoke select, update (active, deleted_at, updated_at) on webhooks from primezap_definer;
drop policy definer on webhooks;
revoke delete on api_keys from primezap_definer;
revoke delete on webhook_stats_hourly, webhook_durations_hourly from primezap_worker;
drop table tenant_deletions;
alter table tenants drop column deleted_at;
drop table erasures;
revoke update (response_headers, response_body), delete on webhook_logs from primezap_worker;
revoke update (contact_id, erased_at), delete on events from primezap_worker;
alter table events drop column erased_at;
drop index events_by_contact;
