-- +goose Up
set local lock_timeout = '5s';

-- Meta refused the token, and there has been no other since: also of a connection
-- that somebody paused, which becomes active only with a new one.
alter table connections add column token_refused boolean not null default false;

-- The list passes over none that were deleted, however many there are.
create index connections_live_by_tenant on connections (tenant_id, id) where deleted_at is null;

grant update (deleted_at, credentials, page_id, updated_at) on connections to primezap_definer;
grant insert on audit_log to primezap_definer;
create policy definer on audit_log to primezap_definer using (true);
grant select (connection_id), delete on integration_rate_limits to primezap_definer;
create policy definer on integration_rate_limits to primezap_definer
  using (exists (select from connections c where c.id = integration_rate_limits.connection_id and c.deleted_at is not null));

-- A connection as the API shows it.
create function show_connection(c connections) returns json
  language sql stable set search_path = pg_catalog, public, pg_temp as $$
  select json_build_object(
    'id', c.id, 'channel', c.channel, 'name', c.name, 'externalId', c.external_id, 'pageId', c.page_id,
    'status', c.status, 'accountName', c.account_name,
    'lastError', case when c.last_error is not null then json_build_object('message', c.last_error,
      'at', to_char(c.last_error_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')) end,
    'createdAt', to_char(c.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'updatedAt', to_char(c.updated_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
$$;

-- Takes an account, and the page that it is linked with, away from whoever else has
-- it connected: for the tenant of the transaction, which has proven that it is its
-- own, and which holds the advisory locks on both. How many connections went. Their
-- tenants learn from their audit logs that it moved, not whereto.
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

-- +goose Down
drop function release_connections(text, text, text);
drop function show_connection(connections);
drop policy definer on integration_rate_limits;
revoke select (connection_id), delete on integration_rate_limits from primezap_definer;
drop policy definer on audit_log;
revoke insert on audit_log from primezap_definer;
revoke update (deleted_at, credentials, page_id, updated_at) on connections from primezap_definer;
drop index connections_live_by_tenant;
alter table connections drop column token_refused;
