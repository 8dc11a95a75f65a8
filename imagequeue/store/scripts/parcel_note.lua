-- Notes how a parcel goes on, for who holds it; the lease is renewed, or ends and the parcel is due again.
-- KEYS: parcel, parcels_due
-- ARGV: parcel_id, holder, lease_ms, milliseconds until it is due or '' (it stays held), field and value in turn; an empty value
--   takes the field away, 'now' is Redis's time
-- Returns: 'noted' (also when repeated), 'lost' (somebody else holds it), 'missing'
local parcel, parcels_due = unpack(KEYS)
local parcel_id, holder, lease_ms, due_ms = unpack(ARGV, 1, 4)
local now = now_ms()
if redis.call('EXISTS', parcel) == 0 then
  return 'missing'
end
local current, last = unpack(redis.call('HMGET', parcel, 'holder', 'last_holder'))
if not current and last == holder then
  return 'noted'
end
if current ~= holder then
  return 'lost'
end
for position = 5, #ARGV, 2 do
  local field, value = ARGV[position], ARGV[position + 1]
  if value == '' then
    redis.call('HDEL', parcel, field)
  else
    redis.call('HSET', parcel, field, value == 'now' and now or value)
  end
end
redis.call('ZADD', parcels_due, now + (due_ms == '' and lease_ms or due_ms), parcel_id)
if due_ms ~= '' then
  redis.call('HDEL', parcel, 'holder')
  redis.call('HSET', parcel, 'last_holder', holder)
end
return 'noted'
