-- +goose Up
set local lock_timeout = '5s';

-- The windows of a connection as they are at a moment. One without messages has
-- not begun. One that begins after the moment, or ends more than its length after
-- it, was begun by a clock that was ahead: it has moved, and begins at the moment.
-- +goose StatementBegin
create function rate_limit_state(connection uuid, kinds text[], limits bigint[], seconds float8[], moment timestamptz)
  returns table (kind text, ceiling bigint, overridden boolean, used bigint, starts timestamptz, ends timestamptz, moved boolean)
  language sql stable as $$
  select k.kind, case when r.overridden then r.max_requests else k.ceiling end, coalesce(r.overridden, false),
    case when s.begun then r.request_count else 0 end,
    case when s.begun then case when s.moved then moment else r.window_start end end,
    case when s.begun then case when s.moved then moment + make_interval(secs => k.seconds) else r.window_end end end,
    s.moved
  from unnest(kinds, limits, seconds) as k(kind, ceiling, seconds)
  left join public.integration_rate_limits r on r.connection_id = connection and r.window_type = k.kind
  cross join lateral (select coalesce(r.request_count > 0 and (r.window_start > moment
    or r.window_end > moment + make_interval(secs => k.seconds)), false) as moved) m
  cross join lateral (select m.moved, m.moved or coalesce(r.request_count > 0 and r.window_end > moment, false) as begun) s
$$;
-- +goose StatementEnd

-- Locks the windows of a connection until the transaction ends, always in one order,
-- and makes them where they are missing. False where the tenant has no such connection.
-- +goose StatementBegin
create function lock_rate_limits(tenant uuid, connection uuid, kinds text[], limits bigint[]) returns boolean
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

-- Takes n messages from all windows of a connection, or from none, in one round trip:
-- it sets the tenant as well. The answer is the windows as they are then; nothing
-- where the tenant has no such connection.
-- +goose StatementBegin
create function take_rate_limits(tenant uuid, connection uuid, n bigint, kinds text[], limits bigint[], seconds float8[])
  returns table (granted boolean, moment timestamptz, kind text, ceiling bigint, overridden boolean, used bigint,
    starts timestamptz, ends timestamptz)
  language plpgsql set enable_seqscan = off as $$
begin
  -- A transaction that is one tenant's takes nothing of another's.
  if coalesce(nullif(current_setting('app.tenant_id', true), ''), tenant::text) <> tenant::text then
    return;
  end if;
  perform set_config('app.tenant_id', tenant::text, true);
  -- A window that is full refuses before any lock: a flood neither waits nor writes.
  moment := clock_timestamp();
  return query select false, moment, s.kind, s.ceiling, s.overridden, s.used, s.starts, s.ends
  from (select s.*, bool_or(s.used + n > s.ceiling and not s.moved) over () as refused
    from public.rate_limit_state(connection, kinds, limits, seconds, moment) s) s
  where s.refused and exists (select from public.connections c where c.id = connection and c.tenant_id = tenant and c.deleted_at is null);
  if found then
    return;
  end if;
  if not public.lock_rate_limits(tenant, connection, kinds, limits) then
    return;
  end if;
  -- From here on each statement sees what the last holder of the locks left, and the
  -- clock is read after it: a window never ends for one who waited and begins for
  -- another who did not.
  moment := clock_timestamp();
  return query update public.integration_rate_limits r
    set request_count = s.used + n, max_requests = s.ceiling,
      window_start = coalesce(s.starts, moment), window_end = coalesce(s.ends, moment + make_interval(secs => s.seconds))
    from (select s.*, seconds[array_position(kinds, s.kind)] as seconds, bool_and(s.used + n <= s.ceiling) over () as granted
      from public.rate_limit_state(connection, kinds, limits, seconds, moment) s) s
    where r.connection_id = connection and r.window_type = s.kind and s.granted
    returning true, moment, r.window_type, r.max_requests, r.overridden, r.request_count, r.window_start, r.window_end;
  if found then
    return;
  end if;
  -- A window that was moved is so once, or it would never end.
  update public.integration_rate_limits r set window_start = s.starts, window_end = s.ends
  from public.rate_limit_state(connection, kinds, limits, seconds, moment) s
  where r.connection_id = connection and r.window_type = s.kind and s.moved;
  return query select false, moment, s.kind, s.ceiling, s.overridden, s.used, s.starts, s.ends
  from public.rate_limit_state(connection, kinds, limits, seconds, moment) s;
end
$$;
-- +goose StatementEnd

-- +goose Down
drop function take_rate_limits(uuid, uuid, bigint, text[], bigint[], float8[]);
drop function lock_rate_limits(uuid, uuid, text[], bigint[]);
drop function rate_limit_state(uuid, text[], bigint[], float8[], timestamptz);
