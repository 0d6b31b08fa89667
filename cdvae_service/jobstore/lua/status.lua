-- Return a job as its client sees it; see `view`.
-- ARGV: id, then fields of the job's hash; the first one is its status
return view(ARGV[1], {unpack(ARGV, 2)})
