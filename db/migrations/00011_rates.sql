-- +goose Up
set local lock_timeout = '5s';

-- What the claims of the last second took from the lane of a webhook with a rate:
-- when, and how many rows. Of other lanes it says nothing.
alter table webhook_lanes add column taken_at timestamptz[] not null default '{}';
alter table webhook_lanes add column taken integer[] not null default '{}';

-- The webhook's filter has not been asked yet: the first attempt asks.
alter table webhook_queue add column unfiltered boolean not null default false;

-- +goose Down
alter table webhook_queue drop column unfiltered;
alter table webhook_lanes drop column taken;
alter table webhook_lanes drop column taken_at;
