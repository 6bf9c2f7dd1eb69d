-- Certificates for specs, made by the command `openssl` in a temporary folder, once for a file:
--
--    local certificates = require "spec.support.certificates"
--    local made = certificates()            -- and made:remove() in a teardown
--    made.ca, made.other_ca                 -- paths of authorities
--    made:path "good.pem"                   -- a certificate; its key is good.key
--
-- good is localhost, *.wild.test, 127.0.0.1 and ::1; other is other.test; wrong is wrong.test;
-- expired, self (self-signed) and unknown (by the other authority) are localhost; client is a
-- client's; locked.key is the key of good with the password "secret".

local Made = {}
Made.__index = Made

local LONG_AGO, AGO = "20200101000000Z", "20200201000000Z"

local function run(folder, format, ...)
  local command = ("cd %s && openssl %s >>log 2>&1"):format(folder, format:format(...))
  if os.execute(command) then return end
  local log <close> = io.open(folder .. "/log")
  error(command .. "\n" .. log:read "a")
end

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

local CONFIG = [[
[ca]
default_ca = authority
[authority]
new_certs_dir = .
database = index
serial = serial
default_md = sha256
policy = anything
email_in_dn = no
unique_subject = no
copy_extensions = copy
[anything]
commonName = supplied
[req]
distinguished_name = name
[name]
]]

local EC <const> = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config config"

local function authority(folder, name, title)
  run(folder, "req -x509 -days 30 %s -subj '/CN=%s' -keyout %s.key -out %s.pem " ..
    "-addext basicConstraints=critical,CA:TRUE", EC, title, name, name)
end

local function sign(folder, name, title, names, options)
  local san = names and ("-addext subjectAltName=" .. names) or ""
  run(folder, "req %s -subj '/CN=%s' %s -keyout %s.key -out %s.csr", EC, title, san, name, name)
  run(folder, "ca -batch -notext -config config %s -in %s.csr -out %s.pem", options, name, name)
end

function Made:path(name) return self.folder .. "/" .. name end

function Made:remove() os.execute("rm -rf " .. self.folder) end

function Made:read(name)
  local file <close> = assert(io.open(self:path(name)))
  return file:read "a"
end

return function()
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute("mkdir " .. folder))
  write(folder .. "/config", CONFIG)
  write(folder .. "/index", "")
  write(folder .. "/serial", "01\n")
  authority(folder, "ca", "Spec CA")
  authority(folder, "other_ca", "Other CA")
  local by_ca, by_other = "-cert ca.pem -keyfile ca.key", "-cert other_ca.pem -keyfile other_ca.key"
  local days = " -days 30"
  sign(folder, "good", "localhost", "DNS:localhost,DNS:*.wild.test,IP:127.0.0.1,IP:::1",
    by_ca .. days)
  sign(folder, "other", "other.test", "DNS:other.test", by_ca .. days)
  sign(folder, "wrong", "wrong.test", "DNS:wrong.test", by_ca .. days)
  sign(folder, "client", "a client", nil, by_ca .. days)
  sign(folder, "unknown", "localhost", "DNS:localhost", by_other .. days)
  sign(folder, "expired", "localhost", "DNS:localhost",
    by_ca .. " -startdate " .. LONG_AGO .. " -enddate " .. AGO)
  run(folder, "req -x509 -days 30 %s -subj /CN=localhost -addext subjectAltName=DNS:localhost " ..
    "-keyout self.key -out self.pem", EC)
  run(folder, "ec -in good.key -aes128 -passout pass:secret -out locked.key")
  return setmetatable({
    folder = folder, ca = folder .. "/ca.pem", other_ca = folder .. "/other_ca.pem",
  }, Made)
end
