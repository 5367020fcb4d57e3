-- +goose Up
set local lock_timeout = '5s';

-- One row an attempt. The primary key serves the list, newest first, and the
-- ledger's look-up of its own row; no foreign keys: a deleted webhook's late
-- result must not hold up anybody else's.
create table webhook_logs (
  webhook_id       uuid not null,
  created_at       timestamptz not null,
  id               uuid not null,
  tenant_id        uuid not null,
  delivery_id      uuid not null,
  event_id         text not null,
  event_type       text not null,
  attempt          smallint not null,
  kind             smallint not null,    -- 0 delivery, 1 test, 2 replay
  counted          boolean not null,
  success          boolean not null,
  status           smallint not null,    -- 0: no answer
  duration_ms      integer not null,
  dns_ms           integer,
  connect_ms       integer,
  tls_ms           integer,
  first_byte_ms    integer,
  request_headers  json,
  response_headers json,
  response_body    text,
  error_class      text,
  error_message    text,
  primary key (webhook_id, created_at, id)
) partition by range (created_at);
create index webhook_logs_by_event on webhook_logs (tenant_id, event_id);
alter table webhook_logs enable row level security;
alter table webhook_logs force row level security;
create policy tenant on webhook_logs to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on webhook_logs to primezap_worker using (true);
grant select on webhook_logs to primezap_api;
grant select, insert on webhook_logs to primezap_worker;

create table webhook_stats_hourly (
  webhook_id      uuid not null,
  hour            timestamptz not null,
  event_type      text not null,
  status          smallint not null,
  tenant_id       uuid not null,
  total           bigint not null,
  successful      bigint not null,
  duration_ms_sum bigint not null,
  primary key (webhook_id, hour, event_type, status)
) with (fillfactor = 50);
alter table webhook_stats_hourly enable row level security;
alter table webhook_stats_hourly force row level security;
create policy tenant on webhook_stats_hourly to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on webhook_stats_hourly to primezap_worker using (true);
grant select on webhook_stats_hourly to primezap_api;
grant select, insert, update on webhook_stats_hourly to primezap_worker;

-- Durations in log-scale buckets: bucket b holds ceil(8·log2(ms+1)), so that
-- histograms of any hours add up and a percentile is off by at most 5 %.
create table webhook_durations_hourly (
  webhook_id uuid not null,
  hour       timestamptz not null,
  bucket     smallint not null,
  tenant_id  uuid not null,
  total      bigint not null,
  primary key (webhook_id, hour, bucket)
) with (fillfactor = 50);
alter table webhook_durations_hourly enable row level security;
alter table webhook_durations_hourly force row level security;
create policy tenant on webhook_durations_hourly to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on webhook_durations_hourly to primezap_worker using (true);
grant select on webhook_durations_hourly to primezap_api;
grant select, insert, update on webhook_durations_hourly to primezap_worker;

-- Every delivery that is not done. attempt is the number of the attempt that is
-- due or in flight. A lease is a due_at in the future and its token: when the
-- worker that holds it dies, the row simply falls due. An exhausted row's
-- due_at is when it is removed.
create table webhook_queue (
  delivery_id uuid primary key,
  webhook_id  uuid not null,
  tenant_id   uuid not null,
  event_id    text not null,
  event_type  text not null,
  event_day   date not null,
  epoch       bigint not null,
  stream_seq  bigint not null,
  kind        smallint not null,
  state       smallint not null,         -- 0 waiting, 1 in flight, 2 retrying, 3 exhausted
  attempt     smallint not null,
  due_at      timestamptz not null,
  lease_id    uuid,
  last_status smallint,
  last_error  text,
  created_at  timestamptz not null default now()
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
create index webhook_queue_due on webhook_queue (webhook_id, due_at) where state < 3;
create index webhook_queue_list on webhook_queue (webhook_id, delivery_id);
create index webhook_queue_exhausted on webhook_queue (due_at) where state = 3;
alter table webhook_queue enable row level security;
alter table webhook_queue force row level security;
create policy tenant on webhook_queue to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on webhook_queue to primezap_worker using (true);
grant select, update, delete on webhook_queue to primezap_api;
grant select, insert, update, delete on webhook_queue to primezap_worker;

-- One row an endpoint with queue rows: when somebody should look at it again.
create table webhook_lanes (
  webhook_id    uuid primary key,
  tenant_id     uuid not null,
  next_due_at   timestamptz not null,
  turn_at       timestamptz not null default '-infinity',
  blocked_until timestamptz not null default '-infinity',
  backlog       boolean not null default false,
  wake_at       timestamptz generated always as (greatest(next_due_at, turn_at, blocked_until)) stored
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
create index webhook_lanes_wake on webhook_lanes (backlog, wake_at);
alter table webhook_lanes enable row level security;
alter table webhook_lanes force row level security;
create policy tenant on webhook_lanes to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on webhook_lanes to primezap_worker using (true);
create policy definer on webhook_lanes to primezap_definer using (true);
grant select, insert, update on webhook_lanes to primezap_api;
grant select, insert, update, delete on webhook_lanes to primezap_worker;
grant select, update on webhook_lanes to primezap_definer;

-- An inactive webhook's rows wait: its lane is shut in the same transaction,
-- and opened again when the webhook is, or when it is deleted (its rows are
-- removed at the next claim).
-- +goose StatementBegin
create function shut_lane() returns trigger
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
begin
  update public.webhook_lanes
  set blocked_until = case when new.active or new.deleted_at is not null
    then '-infinity'::timestamptz else 'infinity'::timestamptz end
  where webhook_id = new.id;
  return null;
end
$$;
-- +goose StatementEnd
alter function shut_lane() owner to primezap_definer;
revoke all on function shut_lane() from public;
create trigger shut_lane after update on webhooks for each row
  when (new.active is distinct from old.active or new.deleted_at is distinct from old.deleted_at)
  execute function shut_lane();

-- Aborts the transaction unless a statement touched as many rows as it had to:
-- a row that is not as expected is another owner's now.
-- +goose StatementBegin
create function expect_rows(actual bigint, wanted bigint) returns boolean
  language plpgsql immutable as $$
begin
  if actual <> wanted then
    raise exception 'touched % rows instead of %', actual, wanted using errcode = 'PZ001';
  end if;
  return true;
end
$$;
-- +goose StatementEnd

-- Makes the partitions of days first to last (UTC). A partition is built aside
-- and attached, which blocks neither readers nor writers of the parent. Nobody
-- has grants on it: rows are reached through the parent and its policies.
-- +goose StatementBegin
create function ensure_partitions(first date, last date) returns integer
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  parent text;
  day date;
  part text;
  made integer := 0;
begin
  if last - first > 366 then
    raise exception 'at most 366 days at once';
  end if;
  perform pg_advisory_xact_lock(hashtext('primezap.partitions'));
  foreach parent in array array['events', 'webhook_logs'] loop
    for day in select generate_series(first, last, interval '1 day')::date loop
      part := format('%s_%s', parent, to_char(day, 'YYYYMMDD'));
      continue when to_regclass('public.' || part) is not null;
      execute format('create table public.%I (like public.%I including defaults including constraints)
        with (autovacuum_analyze_threshold = 100000, autovacuum_vacuum_insert_threshold = 1000000)', part, parent);
      execute format('alter table public.%I enable row level security', part);
      execute format('alter table public.%I force row level security', part);
      if parent = 'events' then
        execute format('alter table public.%I attach partition public.%I for values from (%L) to (%L)',
          parent, part, day, day + 1);
      else
        execute format('alter table public.%I attach partition public.%I for values from (%L) to (%L)',
          parent, part, day::text || ' 00:00:00+00', (day + 1)::text || ' 00:00:00+00');
      end if;
      made := made + 1;
    end loop;
  end loop;
  return made;
end
$$;
-- +goose StatementEnd
revoke all on function ensure_partitions(date, date) from public;
grant execute on function ensure_partitions(date, date) to primezap_worker;

-- +goose Down
drop function ensure_partitions(date, date);
drop function expect_rows(bigint, bigint);
drop trigger shut_lane on webhooks;
drop function shut_lane();
drop table webhook_lanes;
drop table webhook_queue;
drop table webhook_durations_hourly;
drop table webhook_stats_hourly;
drop table webhook_logs;
