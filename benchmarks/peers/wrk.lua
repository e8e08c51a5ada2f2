-- wrk with the same PUT. Its arguments: the path of the installations, the api-version, the token, the body.

local number = 0
local before, after

function init(args)
  local path, version, token, body = args[1], args[2], args[3], args[4]
  before = "PUT " .. path
  after = "-0000-4000-8000-000000000000?api-version=" .. version .. " HTTP/1.1\r\n"
    .. "Host: " .. wrk.host .. ":" .. wrk.port .. "\r\n"
    .. "Authorization: " .. token .. "\r\n"
    .. "Content-Type: application/json\r\n"
    .. "x-ms-version: " .. version .. "\r\n"
    .. "Content-Length: " .. #body .. "\r\n\r\n" .. body
end

function request()
  number = number + 1
  return string.format("%s%08x%s", before, number, after)
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    '{"count": %d, "seconds": %.6f, "p50": %.9f, "p99": %.9f, "failed": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6, failed
  ))
end
