-- +goose Up
set local lock_timeout = '5s';

-- Row level security compares tenant_id in every query of the api: for a server that
-- knows nothing of the data an index that begins with it is as good as the key. It
-- finds a connection's rows too, then, and does not read all that a tenant has.
create index integration_rate_limits_of_connection on integration_rate_limits (tenant_id, connection_id, window_type);
drop index integration_rate_limits_by_tenant;

-- +goose Down
create index integration_rate_limits_by_tenant on integration_rate_limits (tenant_id);
drop index integration_rate_limits_of_connection;
