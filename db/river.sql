-- What the services may do with River's tables, which River's own migrations
-- make. Run after them; idempotent. They belong to no tenant: a job's arguments
-- are ids alone.
grant select, insert, update, delete on river_job, river_leader, river_notification, river_queue to primezap_worker;
grant usage on sequence river_job_id_seq, river_notification_id_seq to primezap_worker;

-- The api asks for jobs. A unique one that is there already is returned by an
-- update that changes nothing.
grant select, insert, update (kind) on river_job to primezap_api;
grant usage on sequence river_job_id_seq to primezap_api;
