-- +goose Up
set local lock_timeout = '5s';

-- How far a worker is: the last grant of the user that was dealt with.
alter table oauth_withdrawals add column place uuid not null default '00000000-0000-0000-0000-000000000000';

-- +goose Down
alter table oauth_withdrawals drop column place;
