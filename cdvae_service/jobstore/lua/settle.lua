-- A worker gives back a leased job; see `resolve`. If another worker has the lease by now, nothing
-- happens.
-- ARGV: id, worker, verdict, problem, now, the same moment as RQ writes it
if redis.call('HGET', LEASES_KEY, ARGV[1]) ~= ARGV[2] then return 'lost' end
return resolve(ARGV[1], ARGV[3], ARGV[4], ARGV[5], ARGV[6])
