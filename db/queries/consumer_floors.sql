-- name: ConsumerFloor :one
SELECT epoch, floor FROM consumer_floors WHERE consumer = @consumer;

-- name: SaveConsumerFloor :exec
-- Never backwards within one stream: a recreated consumer starts from here.
INSERT INTO consumer_floors AS f (consumer, epoch, floor) VALUES (@consumer, @epoch, @floor)
ON CONFLICT (consumer) DO UPDATE SET epoch = excluded.epoch, floor = excluded.floor
WHERE f.epoch <> excluded.epoch OR f.floor < excluded.floor;
