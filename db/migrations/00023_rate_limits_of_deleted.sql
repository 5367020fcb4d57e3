-- +goose Up
set local lock_timeout = '5s';

-- Nobody deletes the connection while windows are made for it: they would stay behind,
-- and who waited for the deletion would be granted messages of what is no more.
-- +goose StatementBegin
create or replace function lock_rate_limits(tenant uuid, connection uuid, kinds text[], limits bigint[]) returns boolean
  language plpgsql set enable_seqscan = off as $$
declare
  held integer;
begin
  perform from public.connections c where c.id = connection and c.tenant_id = tenant and c.deleted_at is null;
  if not found then
    return false;
  end if;
  for attempt in 1..2 loop
    perform from public.integration_rate_limits r
    where r.connection_id = connection and r.tenant_id = tenant order by r.window_type for update;
    get diagnostics held = row_count;
    if held = cardinality(kinds) then
      return true;
    end if;
    perform from public.connections c where c.id = connection and c.tenant_id = tenant and c.deleted_at is null for key share;
    if not found then
      return false;
    end if;
    insert into public.integration_rate_limits (connection_id, window_type, tenant_id, max_requests, window_start, window_end)
    select connection, k.kind, tenant, k.ceiling, now(), now() from unnest(kinds, limits) as k(kind, ceiling)
    order by k.kind
    on conflict do nothing;
  end loop;
  raise exception 'connection % has % windows of %', connection, held, cardinality(kinds);
end
$$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
create or replace function lock_rate_limits(tenant uuid, connection uuid, kinds text[], limits bigint[]) returns boolean
  language plpgsql set enable_seqscan = off as $$
declare
  held integer;
begin
  perform from public.connections c where c.id = connection and c.tenant_id = tenant and c.deleted_at is null;
  if not found then
    return false;
  end if;
  for attempt in 1..2 loop
    perform from public.integration_rate_limits r
    where r.connection_id = connection and r.tenant_id = tenant order by r.window_type for update;
    get diagnostics held = row_count;
    if held = cardinality(kinds) then
      return true;
    end if;
    insert into public.integration_rate_limits (connection_id, window_type, tenant_id, max_requests, window_start, window_end)
    select connection, k.kind, tenant, k.ceiling, now(), now() from unnest(kinds, limits) as k(kind, ceiling)
    order by k.kind
    on conflict do nothing;
  end loop;
  raise exception 'connection % has % windows of %', connection, held, cardinality(kinds);
end
$$;
-- +goose StatementEnd
