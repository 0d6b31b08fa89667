-- One request of a key against its rate (GCRA, a leaky bucket in one number): `burst` at once, then
-- one every `interval` seconds.
-- ARGV: key, interval, burst
-- The answer: 0 if it may pass, else the milliseconds until the next one may
local moment = redis.call('TIME')
local now = tonumber(moment[1]) + tonumber(moment[2]) / 1e6
local interval, burst = tonumber(ARGV[2]), tonumber(ARGV[3])
local window = interval * burst
local due = math.max(tonumber(redis.call('GET', ARGV[1]) or 0), now)
-- A clock that was set back must not lock a key out for longer than its window.
if due - now > window then due = now end
local wait = due - now - interval * (burst - 1)
if wait > 1e-6 then return math.ceil(wait * 1000) end
redis.call('SET', ARGV[1], string.format('%.6f', due + interval), 'PX', math.ceil(window * 1000) + 1)
return 0
