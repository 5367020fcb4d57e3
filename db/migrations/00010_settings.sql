-- +goose Up
set local lock_timeout = '5s';

-- The audit log is read in the order of time: of the tenant, or of one subject.
-- Rows go when they are old.
drop index audit_log_by_tenant;
drop index audit_log_by_subject;
create index audit_log_by_tenant on audit_log (tenant_id, created_at, id);
create index audit_log_by_subject on audit_log (tenant_id, subject_id, created_at, id);
create index audit_log_by_age on audit_log (created_at);

-- How often the row was sealed again, under another key. That changes no meaning,
-- so it is the one update that leaves the generation alone: caches that hold the
-- webhook opened stay right.
alter table webhooks add column reseals integer not null default 0;
drop trigger bump_generation on webhooks;
create trigger bump_generation before insert on webhooks
  for each row execute function bump_generation();
create trigger bump_generation_of_change before update on webhooks
  for each row when (new.reseals = old.reseals) execute function bump_generation();
grant update (secret, previous_secret, headers, reseals) on webhooks to primezap_worker;

-- What failed is looked for among much that did not. On the days to come alone:
-- an index over days that are being written would stop the writers while it is
-- made, and within a month those days are gone.
create index webhook_logs_failed on only webhook_logs (webhook_id, created_at, id) where not success;

-- +goose Down
drop index webhook_logs_failed;
revoke update (secret, previous_secret, headers, reseals) on webhooks from primezap_worker;
drop trigger bump_generation_of_change on webhooks;
drop trigger bump_generation on webhooks;
create trigger bump_generation before insert or update on webhooks
  for each row execute function bump_generation();
alter table webhooks drop column reseals;
drop index audit_log_by_age;
drop index audit_log_by_subject;
drop index audit_log_by_tenant;
create index audit_log_by_tenant on audit_log (tenant_id, id);
create index audit_log_by_subject on audit_log (tenant_id, subject_id, id);
