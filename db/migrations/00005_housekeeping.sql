-- +goose Up
set local lock_timeout = '5s';

-- A kept body is one message of the event store: the same key finds it, the
-- queue rows that need it, and the place that it was copied from. Nothing has
-- been kept before this migration.
alter table event_bodies
  add column epoch bigint not null,
  add column stream_seq bigint not null,
  drop constraint event_bodies_pkey,
  add primary key (epoch, stream_seq);
create index event_bodies_by_event on event_bodies (tenant_id, event_day, event_id);
create index webhook_queue_stored on webhook_queue (epoch, stream_seq);

-- It empties as fast as it fills, and is read from its start.
alter table outbox set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- A deleted webhook's row goes in the end, and caches that are older than its
-- deletion reload whole.
create index webhooks_deleted on webhooks (deleted_at) where deleted_at is not null;
grant delete on webhooks to primezap_worker;
grant update (reload_below) on tenants to primezap_worker;

-- Drops the oldest partition of days before the one given, and returns its name;
-- null when there is none. One a transaction, since it locks the parent. That
-- lock is waited for 50 ms at most: all who come meanwhile stand behind it. Then
-- it fails with lock_not_available, to be called again later.
-- +goose StatementBegin
create function drop_partition(before date) returns text
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set lock_timeout = '50ms' as $$
declare
  part text;
begin
  if before > current_date - 7 then
    raise exception 'partitions are kept for 7 days at least';
  end if;
  perform pg_advisory_xact_lock(hashtext('primezap.partitions'));
  select c.relname into part
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent in ('public.events'::regclass, 'public.webhook_logs'::regclass)
      and to_date(right(c.relname, 8), 'YYYYMMDD') < before
    order by right(c.relname, 8), c.relname limit 1;
  if part is not null then
    execute format('drop table public.%I', part);
  end if;
  return part;
end
$$;
-- +goose StatementEnd
revoke all on function drop_partition(date) from public;
grant execute on function drop_partition(date) to primezap_worker;

-- +goose Down
drop function drop_partition(date);
revoke update (reload_below) on tenants from primezap_worker;
revoke delete on webhooks from primezap_worker;
drop index webhooks_deleted;
alter table outbox reset (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
drop index webhook_queue_stored;
drop index event_bodies_by_event;
alter table event_bodies
  drop constraint event_bodies_pkey,
  drop column epoch,
  drop column stream_seq,
  add primary key (tenant_id, event_day, event_id);
