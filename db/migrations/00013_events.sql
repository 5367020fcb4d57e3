-- +goose NO TRANSACTION
-- +goose Up

-- Lists of events, newest first, of one type or of all: a look-up a type. One
-- index for both, since every event pays for it. The parent's is made alone, then
-- each partition's in a transaction of its own, so that writers wait for that of
-- their own day and no longer than it takes: it could not be made concurrently
-- for partitions that are not known here. Partitions to come get theirs when they
-- are attached. A run that was cut off goes on where it was.
-- +goose StatementBegin
do $$
declare
  part record;
begin
  perform set_config('lock_timeout', '5s', true);
  create index if not exists events_by_type on only events (tenant_id, type, created_at);
  commit;
  for part in
    select c.oid::regclass as name, c.relname || '_by_type' as index
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'events'::regclass and not exists (
      select from pg_index x join pg_inherits a on a.inhrelid = x.indexrelid
      where x.indrelid = c.oid and a.inhparent = 'events_by_type'::regclass)
    order by c.relname
  loop
    perform set_config('lock_timeout', '5s', true);
    execute format('create index if not exists %I on %s (tenant_id, type, created_at)', part.index, part.name);
    execute format('alter index events_by_type attach partition %I', part.index);
    commit;
  end loop;
end
$$;
-- +goose StatementEnd

-- The API shows bodies that the event store has let go and a queue row still
-- needs.
drop policy if exists tenant on event_bodies;
create policy tenant on event_bodies to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
grant select on event_bodies to primezap_api;

-- +goose Down
revoke select on event_bodies from primezap_api;
drop policy if exists tenant on event_bodies;
drop index if exists events_by_type;
