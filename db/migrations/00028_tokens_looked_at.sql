-- +goose Up
set local lock_timeout = '5s';

-- What is subscribed to nothing is looked at, too, once there is a time for it: when the
-- login that it came by is refused.
drop index connections_subscription;
create index connections_subscription on connections (subscription_check_at, id)
  where deleted_at is null and subscription_check_at is not null;

-- +goose Down
drop index connections_subscription;
create index connections_subscription on connections (subscription_check_at, id) where deleted_at is null and subscribed_fields is not null;
