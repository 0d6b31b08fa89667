-- A job as its client sees it, at one moment; see `view`.
-- ARGV: id, then the fields of the job's hash that are wanted; the first is its status
return view(ARGV[1], {unpack(ARGV, 2)})
