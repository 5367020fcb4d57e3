-- +goose Up
set local lock_timeout = '5s';

create table webhooks (
  id                    uuid primary key,
  tenant_id             uuid not null,
  name                  text not null,
  url                   text not null,
  description           text not null default '',
  events                text[] not null,
  active                boolean not null default true,
  operational           boolean not null default false,
  secret                bytea not null,          -- sealed, purpose "secret"
  secret_hint           text not null,
  previous_secret       bytea,                   -- sealed, purpose "secret" as well
  previous_secret_until timestamptz,
  headers               bytea,                   -- sealed JSON [{name,value}], purpose "headers"
  header_names          text[] not null default '{}',
  filter                json,
  rate_per_second       integer,
  retry_delays          integer[] not null default '{1,5,15}',   -- seconds
  auto_recover          boolean not null default true,
  disabled_at           timestamptz,
  disabled_reason       text,
  generation            bigint not null default 0,
  created_at            timestamptz not null default now(),
  updated_at            timestamptz not null default now(),
  deleted_at            timestamptz
);
create index webhooks_by_tenant on webhooks (tenant_id, id) where deleted_at is null;
create index webhooks_changed on webhooks (tenant_id, generation);
alter table webhooks enable row level security;
alter table webhooks force row level security;
create policy tenant on webhooks to primezap_api
  using (tenant_id = (select nullif(current_setting('app.tenant_id', true), '')::uuid));
create policy worker on webhooks to primezap_worker using (true);
grant select, insert, update on webhooks to primezap_api;
grant select on webhooks to primezap_worker;

-- The tenant's row stays locked until the change commits, so generations commit
-- in their order and a reader never skips one.
-- +goose StatementBegin
create function bump_generation() returns trigger
  language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
begin
  insert into public.tenants as t (id, generation) values (new.tenant_id, 1)
    on conflict (id) do update set generation = t.generation + 1
    returning t.generation into new.generation;
  return new;
end
$$;
-- +goose StatementEnd
alter function bump_generation() owner to primezap_definer;
revoke all on function bump_generation() from public;
create trigger bump_generation before insert or update on webhooks
  for each row execute function bump_generation();

-- +goose Down
drop table webhooks;
drop function bump_generation();
