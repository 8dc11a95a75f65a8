-- Forgets a parcel of which every line has ended or was given back.
-- USES: _budget
-- KEYS: parcel, parcels_due, batch_parcels, reserved, spending
-- ARGV: parcel_id, holder
-- Returns: 'done' (also when repeated), 'lost' (somebody else holds it)
local parcel, parcels_due, batch_parcels, reserved, spending = unpack(KEYS)
local parcel_id, holder = unpack(ARGV)
local current = redis.call('HGET', parcel, 'holder')
if current and current ~= holder then
  return 'lost'
end
settle(reserved, spending, parcel_id, 0, now_ms())
redis.call('DEL', parcel)
redis.call('ZREM', parcels_due, parcel_id)
redis.call('SREM', batch_parcels, parcel_id)
return 'done'
