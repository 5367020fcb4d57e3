-- +goose Up
set local lock_timeout = '5s';

-- The list of keys passes over none that were revoked, however many there are.
create index api_keys_live on api_keys (tenant_id, id) where revoked_at is null;

-- The statistics of a webhook's whole UTC day in one row, summed up from its hours
-- once the day is over: a month of hours is tens of thousands of rows, spread over
-- as many pages. The arrays of an event type and status, and of a bucket, run in
-- parallel. A day that has no row is read from its hours.
create table webhook_stats_daily (
  webhook_id       uuid not null,
  day              date not null,
  tenant_id        uuid not null,
  event_types      text[] not null,
  statuses         smallint[] not null,
  totals           bigint[] not null,
  successful       bigint[] not null,
  duration_ms_sums bigint[] not null,
  buckets          smallint[] not null,
  bucket_totals    bigint[] not null,
  primary key (webhook_id, day)
);
alter table webhook_stats_daily enable row level security;
alter table webhook_stats_daily force row level security;
create policy tenant on webhook_stats_daily to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on webhook_stats_daily to primezap_worker using (true);
grant select on webhook_stats_daily to primezap_api;
grant select, insert, delete on webhook_stats_daily to primezap_worker;

-- A result that comes late changes an hour of a day that is over: the day's row
-- goes, to be made again. Whoever makes it holds the day's lock and looks then, so
-- it either sees this change or is seen here. Hours of today pay for comparing two
-- times.
-- +goose StatementBegin
create function forget_daily_stats() returns trigger
  language plpgsql set search_path = pg_catalog, public, pg_temp as $$
declare
  changed date := (new.hour at time zone 'UTC')::date;
begin
  perform pg_advisory_xact_lock_shared(hashtextextended('statistics of ' || to_char(changed, 'YYYY-MM-DD'), 0));
  delete from public.webhook_stats_daily s where s.webhook_id = new.webhook_id and s.day = changed;
  return null;
end
$$;
-- +goose StatementEnd
create trigger forget_daily_stats after insert or update on webhook_stats_hourly
  for each row when (new.hour < date_trunc('day', now(), 'UTC')) execute function forget_daily_stats();

-- +goose Down
drop trigger forget_daily_stats on webhook_stats_hourly;
drop function forget_daily_stats();
drop table webhook_stats_daily;
drop index api_keys_live;
