-- +goose Up
set local lock_timeout = '5s';

-- From the deletion of its tenant on, a connection is found no more.
-- +goose StatementBegin
create or replace function find_connections(channels text[], account_ids text[])
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
  where not exists (select from public.tenants t where t.id = c.tenant_id and t.deleted_at is not null)
$$;
-- +goose StatementEnd

-- Those that turned out to be the same person go with her.
create index contacts_merged on contacts (merged_into) where merged_into is not null;

-- Of a contact that is kept here too: the other contacts that are the same person,
-- what channels know her by, and how far what they told has been searched for it.
-- When the erasure has ended, these are empty.
alter table erasures
  add column contacts text[] not null default '{}',
  add column known_as text[] not null default '{}',
  add column searched uuid not null default '00000000-0000-0000-0000-000000000000',
  add column records bigint not null default 0; -- contacts, conversations, messages and updates

-- +goose Down
alter table erasures
  drop column records,
  drop column searched,
  drop column known_as,
  drop column contacts;
drop index contacts_merged;
-- +goose StatementBegin
create or replace function find_connections(channels text[], account_ids text[])
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
