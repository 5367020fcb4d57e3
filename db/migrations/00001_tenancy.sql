-- +goose Up
set local lock_timeout = '5s';

grant usage on schema public to primezap_api, primezap_worker;
grant usage, create on schema public to primezap_definer;

-- Every change to a tenant's webhooks bumps its generation in the changing
-- transaction; workers reload what changed when they see it move. A cache older
-- than reload_below missed a purged webhook and reloads whole.
create table tenants (
  id           uuid primary key,
  generation   bigint not null default 0,
  reload_below bigint not null default 0,
  created_at   timestamptz not null default now()
);
alter table tenants enable row level security;
alter table tenants force row level security;
create policy tenant on tenants to primezap_api
  using (id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on tenants to primezap_worker using (true);
create policy definer on tenants to primezap_definer using (true);
grant select on tenants to primezap_api, primezap_worker;
grant select, insert, update on tenants to primezap_definer;

create table api_keys (
  id           uuid primary key,
  tenant_id    uuid not null,
  name         text not null,
  hint         text not null,            -- the key's last characters, to recognise it by
  hash         bytea not null unique,    -- SHA-256 of the key
  scopes       text[] not null,
  created_at   timestamptz not null default now(),
  last_used_at timestamptz,
  revoked_at   timestamptz
);
create index api_keys_by_tenant on api_keys (tenant_id, id);
alter table api_keys enable row level security;
alter table api_keys force row level security;
create policy tenant on api_keys to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy definer on api_keys to primezap_definer using (true);
create policy owner on api_keys to primezap_owner using (true);
grant select, insert, update on api_keys to primezap_api;
grant select, update (last_used_at) on api_keys to primezap_definer;

-- The look-up before the tenant is known. Last use is kept to the minute: an
-- update a request would serialise a busy key's requests on one row.
-- +goose StatementBegin
create function find_api_key(key_hash bytea)
  returns table (id uuid, tenant_id uuid, scopes text[])
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
declare
  found public.api_keys;
begin
  select k.* into found from public.api_keys k where k.hash = key_hash and k.revoked_at is null;
  if found.id is null then
    return;
  end if;
  if found.last_used_at is null or found.last_used_at < now() - interval '1 minute' then
    update public.api_keys k set last_used_at = now() where k.id = found.id;
  end if;
  id := found.id;
  tenant_id := found.tenant_id;
  scopes := found.scopes;
  return next;
end
$$;
-- +goose StatementEnd
alter function find_api_key(bytea) owner to primezap_definer;
revoke all on function find_api_key(bytea) from public;
grant execute on function find_api_key(bytea) to primezap_api;

-- +goose Down
drop function find_api_key(bytea);
drop table api_keys;
drop table tenants;
revoke all on schema public from primezap_api, primezap_worker, primezap_definer;
