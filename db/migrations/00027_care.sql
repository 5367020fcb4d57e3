-- +goose Up
set local lock_timeout = '5s';

-- How often in a row Meta gave no answer that says anything: each makes the next look
-- come later.
alter table oauth_grants add column check_failures integer not null default 0;
alter table connections add column subscription_failures integer not null default 0;

-- Of one that waits for another login there is nothing to look at.
drop index oauth_grants_check;
create index oauth_grants_check on oauth_grants (check_at, id) where status = 'active';

-- +goose Down
drop index oauth_grants_check;
create index oauth_grants_check on oauth_grants (check_at, id);
alter table connections drop column subscription_failures;
alter table oauth_grants drop column check_failures;
