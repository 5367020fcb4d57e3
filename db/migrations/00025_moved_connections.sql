-- +goose Up
set local lock_timeout = '5s';

-- It tells which connections went, so that their tenants can be told by an event, too;
-- whether a connection was the claimant's own is all that it says of their tenants.
drop function release_connections(text, text, text);
-- +goose StatementBegin
create function release_connections(account_channel text, account_id text, account_page text)
  returns table (released uuid, own boolean)
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set enable_seqscan = off as $$
declare
  claimant uuid := nullif(current_setting('app.tenant_id', true), '')::uuid;
  ids text[] := array_remove(array[account_id, account_page], null);
  before public.connections;
  after public.connections;
begin
  if claimant is null then
    raise exception 'no tenant claims the account';
  end if;
  for before in
    select c.* from public.connections c
    where (c.external_id = any (ids) or c.page_id = any (ids)) and c.channel = account_channel and c.deleted_at is null
      and not (c.tenant_id = claimant and c.external_id = account_id)
    order by c.id for update
  loop
    if before.external_id = any (ids) then
      update public.connections c set deleted_at = now(), credentials = null, updated_at = now() where c.id = before.id
        returning c.* into after;
      delete from public.integration_rate_limits l where l.connection_id = before.id;
      released := before.id;
      own := before.tenant_id = claimant;
      return next;
    else -- another account: what was said of its page does not hold any more
      update public.connections c set page_id = null, updated_at = now() where c.id = before.id returning c.* into after;
    end if;
    insert into public.audit_log (id, tenant_id, actor, action, subject_type, subject_id, before, after)
    values (
      -- A UUIDv7: milliseconds, then what is random.
      encode(overlay(set_bit(set_bit(uuid_send(gen_random_uuid()), 52, 1), 53, 1)
        placing substring(int8send(floor(extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6), 'hex')::uuid,
      before.tenant_id, 'system',
      case when after.deleted_at is null then 'connection.updated' else 'connection.moved_away' end,
      'connection', before.id::text, public.show_connection(before), case when after.deleted_at is null then public.show_connection(after) end);
  end loop;
end
$$;
-- +goose StatementEnd
alter function release_connections(text, text, text) owner to primezap_definer;
revoke all on function release_connections(text, text, text) from public;
grant execute on function release_connections(text, text, text) to primezap_api;

-- +goose Down
drop function release_connections(text, text, text);
-- +goose StatementBegin
create function release_connections(account_channel text, account_id text, account_page text) returns integer
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp set enable_seqscan = off as $$
declare
  claimant uuid := nullif(current_setting('app.tenant_id', true), '')::uuid;
  ids text[] := array_remove(array[account_id, account_page], null);
  before public.connections;
  after public.connections;
  released integer := 0;
begin
  if claimant is null then
    raise exception 'no tenant claims the account';
  end if;
  for before in
    select c.* from public.connections c
    where (c.external_id = any (ids) or c.page_id = any (ids)) and c.channel = account_channel and c.deleted_at is null
      and not (c.tenant_id = claimant and c.external_id = account_id)
    order by c.id for update
  loop
    if before.external_id = any (ids) then
      update public.connections c set deleted_at = now(), credentials = null, updated_at = now() where c.id = before.id
        returning c.* into after;
      delete from public.integration_rate_limits l where l.connection_id = before.id;
      released := released + 1;
    else -- another account: what was said of its page does not hold any more
      update public.connections c set page_id = null, updated_at = now() where c.id = before.id returning c.* into after;
    end if;
    insert into public.audit_log (id, tenant_id, actor, action, subject_type, subject_id, before, after)
    values (
      -- A UUIDv7: milliseconds, then what is random.
      encode(overlay(set_bit(set_bit(uuid_send(gen_random_uuid()), 52, 1), 53, 1)
        placing substring(int8send(floor(extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6), 'hex')::uuid,
      before.tenant_id, 'system',
      case when after.deleted_at is null then 'connection.updated' else 'connection.moved_away' end,
      'connection', before.id::text, public.show_connection(before), case when after.deleted_at is null then public.show_connection(after) end);
  end loop;
  return released;
end
$$;
-- +goose StatementEnd
alter function release_connections(text, text, text) owner to primezap_definer;
revoke all on function release_connections(text, text, text) from public;
grant execute on function release_connections(text, text, text) to primezap_api;
