-- Lease the next job to a worker. The most urgent queue comes first, but where others were served
-- PATIENCE times while jobs waited on a less urgent one, that one is next: nothing starves.
-- ARGV: the worker, the number of jobs that it knows to have, these jobs, then its queues
-- The reply: the id of the job, or nothing
local worker = ARGV[1]
local first = 3 + tonumber(ARGV[2])
local known = {}
for i = 3, first - 1 do known[ARGV[i]] = true end
-- A lease that the worker does not know: the reply with it was lost.
local leases = redis.call('HGETALL', LEASES_KEY)
for i = 1, #leases, 2 do
  if leases[i + 1] == worker and not known[leases[i]] then return leases[i] end
end
local order = {}
for i = #ARGV, first + 1, -1 do
  if tonumber(redis.call('HGET', PASSED_KEY, ARGV[i]) or 0) >= PATIENCE then
    order[#order + 1] = ARGV[i]
  end
end
for i = first, #ARGV do order[#order + 1] = ARGV[i] end

for _, queue in ipairs(order) do
  local id = redis.call('LPOP', queue_key(queue))
  while id do
    -- The job may have been deleted or ended, or be on its queue twice.
    local status = redis.call('HGET', job_key(id), 'status')
    if status == 'queued' and redis.call('HEXISTS', LEASES_KEY, id) == 0 then
      redis.call('HSET', LEASES_KEY, id, worker)
      redis.call('HSET', PASSED_KEY, queue, 0)
      for i = #ARGV, first, -1 do
        if ARGV[i] == queue then break end
        if redis.call('LLEN', queue_key(ARGV[i])) > 0 then
          redis.call('HINCRBY', PASSED_KEY, ARGV[i], 1)
        end
      end
      return id
    end
    id = redis.call('LPOP', queue_key(queue))
  end
end
return false
