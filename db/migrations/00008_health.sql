-- +goose Up
set local lock_timeout = '5s';

-- How webhooks fare that do not: a row comes with the first delivery that is
-- exhausted and goes when the webhook has recovered. A healthy one has none, so
-- that its successes look into an almost empty index and write nothing.
create table webhook_health (
  webhook_id      uuid primary key,
  tenant_id       uuid not null,
  exhausted       integer not null default 0,  -- deliveries in a row, since the last success or since it was enabled
  failing_since   timestamptz,                 -- the first of them
  level           smallint not null default 0, -- percent of what disables it that the streak has reached: 0, 50, 75, 90, 100
  told            smallint not null default 0, -- the level that was acted on
  gone_generation bigint,                      -- an attempt at this generation was answered with 410: to be acted on
  down            boolean not null,            -- a delivery was exhausted after the last success
  succeeded_at    timestamptz,                 -- the last success that came after an exhausted delivery
  recover_at      timestamptz                  -- when the next of those exhausted before it go back to the lane
) with (fillfactor = 50);
create index webhook_health_untold on webhook_health (webhook_id) where level > told or gone_generation is not null;
create index webhook_health_recovering on webhook_health (recover_at) where recover_at is not null;
alter table webhook_health enable row level security;
alter table webhook_health force row level security;
create policy worker on webhook_health to primezap_worker using (true);
create policy definer on webhook_health to primezap_definer using (true);
grant select, insert, update, delete on webhook_health to primezap_worker;
grant select, update on webhook_health to primezap_definer;

-- What a streak has reached: percent of the time after which it disables the
-- webhook. It ends at 90 until enough deliveries are exhausted as well.
create function health_level(exhausted integer, lasted interval, disable_after interval, disable_exhausted integer) returns smallint
  language sql immutable as $$
select case
  when exhausted = 0 or lasted is null then 0
  when lasted >= disable_after and exhausted >= disable_exhausted then 100
  when lasted >= disable_after * 0.9 then 90
  when lasted >= disable_after * 0.75 then 75
  when lasted >= disable_after * 0.5 then 50
  else 0 end::smallint
$$;

-- An exhausted row that went back to its lane counts its schedule from here: how
-- many attempts it had had. It goes back once.
alter table webhook_queue add column recovered_after smallint;
create index webhook_queue_recoverable on webhook_queue (webhook_id, due_at) where state = 3 and recovered_after is null;

-- A worker may disable a webhook, and change nothing else of it.
grant update (active, disabled_at, disabled_reason, updated_at) on webhooks to primezap_worker;

-- A webhook that is made active starts a new streak; down stays: what was
-- exhausted before goes back to the lane when it answers again. The name puts it
-- after shut_lane: lanes are locked before health.
-- +goose StatementBegin
create function start_streak() returns trigger
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
begin
  update public.webhook_health
  set exhausted = 0, failing_since = null, level = 0, told = 0, gone_generation = null
  where webhook_id = new.id;
  return null;
end
$$;
-- +goose StatementEnd
alter function start_streak() owner to primezap_definer;
revoke all on function start_streak() from public;
create trigger start_streak after update on webhooks for each row
  when (new.active and not old.active)
  execute function start_streak();

-- +goose Down
drop trigger start_streak on webhooks;
drop function start_streak();
revoke update (active, disabled_at, disabled_reason, updated_at) on webhooks from primezap_worker;
drop index webhook_queue_recoverable;
alter table webhook_queue drop column recovered_after;
drop table webhook_health;
drop function health_level(integer, interval, interval, integer);
