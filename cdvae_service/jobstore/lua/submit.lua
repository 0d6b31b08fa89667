-- Put a job on its queue, or return the reason for a refusal, and then write nothing.
-- ARGV: id, queue, owner, now, most jobs on the queue, most unfinished jobs of the owner (0: any),
--       idempotency key ('' without one), fingerprint of the request, seconds that the key is
--       kept, the number of fields for the client, these fields, then all fields and their values
-- The reply: {'queued' | 'seen', id, what the client sees (`view`)}, {'conflict'}, {'quota'} or
--       {'full'}
local id, queue, owner, now = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local max_queued, quota = tonumber(ARGV[5]), tonumber(ARGV[6])
local once, fingerprint, once_ttl = ARGV[7], ARGV[8], ARGV[9]
local first = 11 + tonumber(ARGV[10])
local visible, fields = {unpack(ARGV, 11, first - 1)}, {unpack(ARGV, first)}

if once ~= '' then
  local seen, with = unpack(redis.call('HMGET', once, 'job', 'fingerprint'))
  if seen and redis.call('EXISTS', job_key(seen)) == 1 then
    if with == fingerprint then return {'seen', seen, view(seen, visible)} end
    return {'conflict'}
  end
end
-- A call is repeated if its reply was lost.
if redis.call('EXISTS', job_key(id)) == 1 then return {'seen', id, view(id, visible)} end
if redis.call('LLEN', queue_key(queue)) >= max_queued then return {'full'} end
if quota > 0 then
  local active = ACTIVE_PREFIX .. owner
  if redis.call('SCARD', active) >= quota then
    for _, other in ipairs(redis.call('SMEMBERS', active)) do
      local status = redis.call('HGET', job_key(other), 'status')
      if not status or FINAL[status] then redis.call('SREM', active, other) end
    end
    if redis.call('SCARD', active) >= quota then return {'quota'} end
  end
  redis.call('SADD', active, id)
end

redis.call('HSET', job_key(id), unpack(fields))
redis.call('SADD', 'rq:queues', queue_key(queue))
local length = redis.call('RPUSH', queue_key(queue), id)
local index = JOBS_PREFIX .. owner
redis.call('ZADD', index, now, id)
-- Remove expired jobs from the index of the owner, two at a time: faster than it grows.
for _, old in ipairs(redis.call('ZRANGE', index, 0, 1)) do
  if redis.call('EXISTS', job_key(old)) == 0 then redis.call('ZREM', index, old) end
end
if once ~= '' then
  redis.call('HSET', once, 'job', id, 'fingerprint', fingerprint)
  redis.call('EXPIRE', once, once_ttl)
end
redis.call('PUBLISH', QUEUED_CHANNEL, id)
return {'queued', id, view(id, visible, length - 1)}
