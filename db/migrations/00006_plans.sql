-- +goose Up
set local lock_timeout = '5s';

-- Row level security compares tenant_id in every query of the api. An index that
-- begins with it looks as good as the right one where tenants are believed to be
-- small, and then walks all that a large one has: GetWebhook all webhooks,
-- CountLogs the logs of a day.
drop index webhooks_changed;
create index webhooks_changed on webhooks (tenant_id, generation) where generation > 0;
drop index webhook_logs_by_event;
create index webhook_logs_by_event on webhook_logs (event_id, tenant_id);

-- +goose Down
drop index webhook_logs_by_event;
create index webhook_logs_by_event on webhook_logs (tenant_id, event_id);
drop index webhooks_changed;
create index webhooks_changed on webhooks (tenant_id, generation);
