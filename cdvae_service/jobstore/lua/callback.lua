-- Claim callbacks that are due: no other front end gets them for some seconds.
-- ARGV: now, seconds, the most callbacks to claim
-- The reply: ids of jobs
local due = redis.call('ZRANGEBYSCORE', WEBHOOKS_KEY, '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, id in ipairs(due) do
  redis.call('ZADD', WEBHOOKS_KEY, tonumber(ARGV[1]) + tonumber(ARGV[2]), id)
end
return due
