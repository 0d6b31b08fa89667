-- Functions that the scripts share. A script is atomic, so a job is never between two places.
-- Scripts build their keys, because the service runs on one Redis and not on a cluster.
-- The upper-case names are constants of cdvae_schema.wire, which cdvae_service.jobstore.ledger adds.

local FINAL = {finished = true, failed = true, canceled = true, stopped = true}

local function job_key(id) return 'rq:job:' .. id end

local function queue_key(name) return 'rq:queue:' .. name end

-- Return what a client may see of a job: {values of the fields, progress, position (0: not on its
-- queue), whether a worker is live}; false without a job. The first field is the status. `behind`:
-- the number of jobs before it on its queue, if known; a look takes time in proportion to the queue.
local function view(id, fields, behind)
  local values = redis.call('HMGET', job_key(id), unpack(fields))
  if not values[1] then return false end
  local position, live = 0, 1
  if values[1] == 'queued' then
    local origin = redis.call('HGET', job_key(id), 'origin')
    behind = behind or redis.call('LPOS', queue_key(origin), id)
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
end

-- End a job: remove its lease, let it expire, and notify its subscribers.
local function close(id, now, ended_at)
  local key = job_key(id)
  local origin, ttl, callback, ended = unpack(
    redis.call('HMGET', key, 'origin', 'result_ttl', FIELD_CALLBACK, 'ended_at'))
  if not ended or ended == '' then redis.call('HSET', key, 'ended_at', ended_at) end
  redis.call('HDEL', LEASES_KEY, id)
  if origin and ttl then
    -- RQ's registries of ended jobs would only grow; the hash of a job shows how it ended.
    redis.call('ZREM', 'rq:finished:' .. origin, id)
    redis.call('ZREM', 'rq:failed:' .. origin, id)
    redis.call('EXPIRE', key, ttl)
    redis.call('EXPIRE', 'rq:results:' .. id, ttl)
  end
  if callback and callback ~= '' then redis.call('ZADD', WEBHOOKS_KEY, now, id) end
  redis.call('PUBLISH', CHANGED_PREFIX .. id, '')
end

-- Remove RQ's execution of the job.
local function end_executions(id, origin)
  local registry = 'rq:executions:' .. id
  for _, member in ipairs(redis.call('ZRANGE', registry, 0, -1)) do
    redis.call('ZREM', 'rq:wip:' .. origin, id .. ':' .. member)
    redis.call('DEL', 'rq:execution:' .. id .. ':' .. member)
  end
  redis.call('DEL', registry)
end

local function requeue(id, origin)
  redis.call('HDEL', job_key(id), 'started_at', 'ended_at', 'worker_name', FIELD_STATE)
  redis.call('HSET', job_key(id), 'status', 'queued')
  redis.call('DEL', PROGRESS_PREFIX .. id)
  redis.call('HDEL', LEASES_KEY, id)
  redis.call('LPUSH', queue_key(origin), id)
  redis.call('PUBLISH', QUEUED_CHANNEL, id)
  redis.call('PUBLISH', CHANGED_PREFIX .. id, '')
end

-- End the lease of a job that no process runs any more.
--   verdict 'return': the job returns to the front of its queue, unless it has ended
--           'retry':  the same, but only MAX_LOST times; then it fails with `problem`
--           'fail':   the job fails with `problem`, unless it has ended
-- Return 'over' (it had ended), 'requeued', 'failed' or 'gone'.
local function resolve(id, verdict, problem, now, ended_at)
  local status, origin = unpack(redis.call('HMGET', job_key(id), 'status', 'origin'))
  if not status or not origin then
    redis.call('HDEL', LEASES_KEY, id)
    return 'gone'
  end
  end_executions(id, origin)
  if FINAL[status] then
    close(id, now, ended_at)
    return 'over'
  end
  if verdict == 'retry' then
    local lost = redis.call('HINCRBY', job_key(id), FIELD_ATTEMPTS, 1)
    verdict = lost > MAX_LOST and 'fail' or 'return'
  end
  if verdict == 'return' then
    requeue(id, origin)
    return 'requeued'
  end
  redis.call('HSET', job_key(id), 'status', 'failed', FIELD_ERROR, problem)
  close(id, now, ended_at)
  return 'failed'
end
