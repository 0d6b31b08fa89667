-- Claim callbacks that are due: nobody else gets them for so many seconds.
-- ARGV: now, seconds, the most that are wanted
-- The answer: ids of jobs
local due = redis.call('ZRANGEBYSCORE', WEBHOOKS_KEY, '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, id in ipairs(due) do
  redis.call('ZADD', WEBHOOKS_KEY, tonumber(ARGV[1]) + tonumber(ARGV[2]), id)
end
return due
