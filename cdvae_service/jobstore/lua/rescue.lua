-- Recover the jobs of a worker that seems to be dead: each is tried once more, then it fails.
-- ARGV: worker, problem, now, the same moment as RQ writes it
-- The reply: pairs of a job and what became of it
if redis.call('EXISTS', WORKER_PREFIX .. ARGV[1]) == 1 then return {} end
redis.call('SREM', WORKERS_KEY, ARGV[1])
local dealt = {}
local leases = redis.call('HGETALL', LEASES_KEY)
for i = 1, #leases, 2 do
  if leases[i + 1] == ARGV[1] then
    dealt[#dealt + 1] = leases[i]
    dealt[#dealt + 1] = resolve(leases[i], 'retry', ARGV[2], ARGV[3], ARGV[4])
  end
end
return dealt
