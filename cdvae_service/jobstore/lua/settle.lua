-- A worker gives back a job that it had leased; see `resolve`. Nothing happens where the lease has
-- gone to somebody else: then the job is no longer this worker's business.
-- ARGV: id, worker, verdict, problem, now, the same moment as RQ writes it
if redis.call('HGET', LEASES_KEY, ARGV[1]) ~= ARGV[2] then return 'lost' end
return resolve(ARGV[1], ARGV[3], ARGV[4], ARGV[5], ARGV[6])
