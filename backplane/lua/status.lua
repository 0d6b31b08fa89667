-- All that a client may see of a job, at one moment.
-- ARGV: id, then the fields of the job's hash that are wanted; the first is its status
-- The answer: {values, progress, position (0: not on its queue), whether a worker is live}
local id = ARGV[1]
local values = redis.call('HMGET', job_key(id), unpack(ARGV, 2))
if not values[1] then return false end
local position, live = 0, 1
if values[1] == 'queued' then
  local origin = redis.call('HGET', job_key(id), 'origin')
  local behind = redis.call('LPOS', queue_key(origin), id)
  if behind then
    position = behind + 1
    for _, name in ipairs(QUEUES) do
      if name == origin then break end
      position = position + redis.call('LLEN', queue_key(name))
    end
  end
  live = 0
  for _, name in ipairs(redis.call('SMEMBERS', WORKERS_KEY)) do
    if redis.call('EXISTS', WORKER_PREFIX .. name) == 1 then live = 1 end
  end
end
return {values, redis.call('HGETALL', PROGRESS_PREFIX .. id), position, live}
