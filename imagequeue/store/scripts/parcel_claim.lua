-- Gives a parcel that is due to one worker, for the time of a lease.
-- KEYS: parcel, parcels_due
-- ARGV: parcel_id, holder, lease_ms
-- Returns: 'claimed' (also when repeated), 'held' (it is not due, or not any more), 'missing'
local parcel, parcels_due = unpack(KEYS)
local parcel_id, holder, lease_ms = unpack(ARGV)
local now = now_ms()
if redis.call('EXISTS', parcel) == 0 then
  redis.call('ZREM', parcels_due, parcel_id)
  return 'missing'
end
local due = redis.call('ZSCORE', parcels_due, parcel_id)
if redis.call('HGET', parcel, 'holder') ~= holder and due and tonumber(due) > now then
  return 'held'
end
redis.call('HSET', parcel, 'holder', holder)
redis.call('ZADD', parcels_due, now + lease_ms, parcel_id)
return 'claimed'
