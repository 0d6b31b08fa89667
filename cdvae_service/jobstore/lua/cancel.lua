-- Cancel a job that waits; request the end of one that runs.
-- ARGV: id, now, the same moment as RQ writes it, seconds that the request is kept
-- The reply: 1 if this call ended the job, which exactly one caller gets; else nothing
local id = ARGV[1]
local status, origin = unpack(redis.call('HMGET', job_key(id), 'status', 'origin'))
if not status or FINAL[status] then return end
-- The request comes first: a worker that has just taken the job finds it before the first noise
-- level.
redis.call('SET', CANCEL_PREFIX .. id, '1', 'EX', ARGV[4])
if redis.call('LREM', queue_key(origin), 1, id) > 0 then
  redis.call('HSET', job_key(id), 'status', 'canceled')
  close(id, ARGV[2], ARGV[3])
  return 1
end
