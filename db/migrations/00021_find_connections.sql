-- +goose Up
set local lock_timeout = '5s';

-- With a plan that is kept: every post of Meta's asks. A function in SQL is planned at
-- each call, and so is one in plpgsql for what looks like few rows: 0.6 ms.
-- +goose StatementBegin
create or replace function find_connections(channels text[], account_ids text[])
  returns table (id uuid, tenant_id uuid, channel text, external_id text, page_id text)
  language plpgsql stable security definer set search_path = pg_catalog, public, pg_temp
  set enable_seqscan = off set plan_cache_mode = force_generic_plan as $$
begin
  return query
  select c.id, c.tenant_id, c.channel, c.external_id, c.page_id
  from (select distinct unnest(channels) as channel, unnest(account_ids) as account_id) a
  cross join lateral (
    (select l.* from public.connections l
    where l.external_id = a.account_id and l.channel = a.channel and l.deleted_at is null limit 1)
    union all
    (select l.* from public.connections l
    where l.page_id = a.account_id and l.channel = a.channel and l.deleted_at is null limit 100)
  ) c
  left join lateral (select true as gone from public.tenants t where t.id = c.tenant_id and t.deleted_at is not null limit 1) d on true
  where d.gone is null;
end
$$;
-- +goose StatementEnd

-- +goose Down
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
