-- Notes that an input image is about to be used, so that nobody deletes it meanwhile.
-- KEYS: input_uses, inputs_leaving
-- ARGV: sha256
-- Returns: 'used', 'leaving' (it is being deleted: look again when that is over)
local input_uses, inputs_leaving = unpack(KEYS)
local sha256 = ARGV[1]
if redis.call('ZSCORE', inputs_leaving, sha256) then
  return 'leaving'
end
redis.call('ZADD', input_uses, now_ms(), sha256)
return 'used'
