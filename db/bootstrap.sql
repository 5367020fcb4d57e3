-- Roles of a PrimeZap database, made once per Postgres cluster by a superuser
-- (or a role that may create roles). Idempotent. No passwords are set here:
-- an operator adds them, or uses certificates.
--
-- primezap_owner    owns the schema and runs migrations
-- primezap_definer  owns the few SECURITY DEFINER functions that must look
--                   across tenants; nobody logs in as it
-- primezap_api      the api and oauth services: sees one tenant at a time
-- primezap_worker   the workers: cross tenants on the delivery tables
--
-- None of them is a superuser or bypasses row level security.
do $$
declare
  role text;
begin
  foreach role in array array['primezap_owner', 'primezap_definer', 'primezap_api', 'primezap_worker'] loop
    if not exists (select from pg_roles where rolname = role) then
      execute format('create role %I %s nosuperuser nobypassrls nocreaterole nocreatedb', role,
        case role when 'primezap_definer' then 'nologin' else 'login' end);
    end if;
  end loop;
end
$$;

-- The owner hands functions over to the definer.
grant primezap_definer to primezap_owner;

-- A snapshot held open makes every claim dearer (dead index entries stay), so
-- nothing may hold one for long.
alter role primezap_owner set lock_timeout = '5s';
alter role primezap_owner set statement_timeout = '15min';
alter role primezap_owner set idle_in_transaction_session_timeout = '60s';
alter role primezap_api set statement_timeout = '15s';
alter role primezap_api set idle_in_transaction_session_timeout = '15s';
alter role primezap_worker set statement_timeout = '30s';
alter role primezap_worker set idle_in_transaction_session_timeout = '15s';

-- Partitions start empty and are filled before they are ever analysed; a plan
-- cached in that state must not be a sequential scan of a day.
alter role primezap_worker set enable_seqscan = off;
alter role primezap_worker set enable_hashjoin = off;
alter role primezap_worker set enable_mergejoin = off;
alter role primezap_worker set plan_cache_mode = auto;
-- A bitmap scan reads all that its condition covers, however few rows are asked
-- for in whatever order.
alter role primezap_worker set enable_bitmapscan = off;
alter role primezap_api set enable_bitmapscan = off;
alter role primezap_api set enable_seqscan = off;

do $$
begin
  if current_setting('server_version_num')::int >= 170000 then
    alter role primezap_owner set transaction_timeout = '30min';
    alter role primezap_api set transaction_timeout = '30s';
    alter role primezap_worker set transaction_timeout = '60s';
  end if;
end
$$;
