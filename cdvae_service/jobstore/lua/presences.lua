-- List the workers that announced themselves or hold a job.
-- The reply: pairs of a name and '1' (its presence key exists) or '0'
local answer, seen = {}, {}
for _, names in ipairs({redis.call('SMEMBERS', WORKERS_KEY), redis.call('HVALS', LEASES_KEY)}) do
  for _, name in ipairs(names) do
    if not seen[name] then
      seen[name] = true
      answer[#answer + 1] = name
      answer[#answer + 1] = tostring(redis.call('EXISTS', WORKER_PREFIX .. name))
    end
  end
end
return answer
